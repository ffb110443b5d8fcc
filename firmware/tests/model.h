/* A register model of the accelerator for tests of the driver: enough of it to see what the driver
 * does, and to misbehave as a test wants. */
#ifndef MODEL_H
#define MODEL_H

#include "plum.h"

#define MODEL_CODE 64u
#define MODEL_TABLE 64u
#define MODEL_ACTIVATION 64u /* words of 8 bytes */
#define MODEL_RESULT 16u
#define MODEL_COUNTER 20u
#define MODEL_LAYER_WORDS 6u

struct model {
    /* What a test may change. */
    uint32_t clusters;
    uint32_t array[4];
    uint32_t id, version;
    uint32_t run_ticks;  /* that a run takes; UINT32_MAX: it never ends */
    bool faulty_program; /* a run ends with STATUS.ERROR */
    uint32_t stuck_space, stuck_address, stuck_bits; /* bits that read as 0 there */

    /* What it holds. Activation words have two halves. */
    uint32_t code[PLUM_MAX_CLUSTERS][MODEL_CODE];
    uint32_t table[PLUM_MAX_CLUSTERS][MODEL_TABLE];
    uint32_t activation[PLUM_MAX_CLUSTERS][2 * MODEL_ACTIVATION];
    uint32_t result[MODEL_RESULT];
    uint32_t counter[MODEL_COUNTER];

    /* What happened. */
    uint32_t runs, aborts, outside; /* outside: accesses that no driver may make */
    uint32_t program, layers, targets, interrupt, cycles, status, kept;
    uint32_t now, end;
    uint32_t sleeps;
};

/* An accelerator of two clusters, as after reset. */
void model_reset(struct model *model);
/* What a test gives plum_open. */
volatile uint32_t *model_base(struct model *model);
uint32_t model_ticks(void *model);
void model_sleep(void *model, uint32_t ticks);

#endif
