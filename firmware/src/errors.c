#include "plum.h"

static const struct {
    const char *name, *text;
} errors[PLUM_ERROR_COUNT] = {
    [PLUM_OK] = {"OK", "done"},
    [PLUM_NO_DEVICE] = {"NO_DEVICE", "no accelerator answers"},
    [PLUM_WRONG_MAP] = {"WRONG_MAP", "the accelerator's registers are of another version"},
    [PLUM_BUSY] = {"BUSY", "a run is in progress"},
    [PLUM_TIMEOUT] = {"TIMEOUT", "the run did not end in time and was aborted"},
    [PLUM_PROGRAM_FAULT] = {"PROGRAM_FAULT", "the array found a fault in its program"},
    [PLUM_BAD_ADDRESS] = {"BAD_ADDRESS", "no such word, cluster or layer"},
    [PLUM_MEMORY_FAULT] = {"MEMORY_FAULT", "a memory does not hold what was written"},
    [PLUM_NO_SLOT] = {"NO_SLOT", "no flash image here"},
    [PLUM_WRONG_FORMAT] = {"WRONG_FORMAT", "the flash image has another format version"},
    [PLUM_BAD_CHECKSUM] = {"BAD_CHECKSUM", "damaged: wrong checksum"},
    [PLUM_BAD_IMAGE] = {"BAD_IMAGE", "damaged: lengths or places contradict each other"},
    [PLUM_NOT_FOUND] = {"NOT_FOUND", "the flash image has no such section"},
    [PLUM_WRONG_ARRAY] = {"WRONG_ARRAY", "the network was compiled for another array"},
    [PLUM_WRONG_SHAPE] = {"WRONG_SHAPE", "the image has another shape than the network takes"},
    [PLUM_BAD_PIXEL] = {"BAD_PIXEL", "a pixel is larger than the network takes"},
    [PLUM_NOT_LOADED] = {"NOT_LOADED", "no network is loaded"},
    [PLUM_SMALL_BUFFER] = {"SMALL_BUFFER", "the output does not fit the buffer"},
};

const char *plum_error_name(plum_error error) {
    return (unsigned)error < PLUM_ERROR_COUNT ? errors[error].name : "UNKNOWN";
}

const char *plum_error_text(plum_error error) {
    return (unsigned)error < PLUM_ERROR_COUNT ? errors[error].text : "unknown error";
}
