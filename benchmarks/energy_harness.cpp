// Runs a program on the device and writes what its nets toggled (SAIF), during the run only.
//
//     harness WRITES LAYERS ADDRESS COUNT SAIF
//
// WRITES: a file with a line "space address data" (decimal, decimal, hexadecimal) for each word to
// write first. Standard output: the cycles, then COUNT words of ACTIVATION memory from ADDRESS on,
// one a line.

#include <cinttypes>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>

#include "Venergy.h"
#include "verilated.h"
#include "verilated_saif_c.h"

namespace {

constexpr uint64_t kLimit = 1 << 24;

class Device {
  public:
    Device() {
        top_.trace(&trace_, 99);
        top_.targets = 1;
        top_.response_ready = 1;
        top_.rst = 1;
        for (int i = 0; i < 4; i++) cycle();
        top_.rst = 0;
    }

    void write(uint32_t space, uint32_t address, uint64_t data) { request(space, 1, address, data); }

    uint64_t read(uint32_t space, uint32_t address) {
        request(space, 0, address, 0);
        while (!top_.response_valid) cycle();
        const uint64_t data = top_.response_payload;
        cycle();
        return data;
    }

    uint32_t run(uint32_t layers, const char *saif) {
        for (int i = 0; i < 8; i++) cycle();
        trace_.open(saif);
        top_.layers = layers;
        top_.start = 1;
        cycle();
        top_.start = 0;
        while (top_.busy) cycle();
        trace_.close();
        return top_.cycles;
    }

  private:
    void request(uint32_t space, uint32_t write, uint32_t address, uint64_t data) {
        // plum_hw.gateware.link.host_port.HostRequest
        top_.request_payload[0] = space | write << 3 | address << 4 | uint32_t(data << 20);
        top_.request_payload[1] = uint32_t(data >> 12);
        top_.request_payload[2] = uint32_t(data >> 44);
        top_.request_valid = 1;
        top_.eval();
        while (!top_.request_ready) cycle();
        cycle();
        top_.request_valid = 0;
    }

    void cycle() {
        for (const int clk : {0, 1}) {
            top_.clk = clk;
            top_.eval();
            if (trace_.isOpen()) trace_.dump(time_);
            time_++;
        }
        if (time_ > 2 * kLimit) {
            std::fprintf(stderr, "no end\n");
            std::exit(1);
        }
    }

    VerilatedSaifC trace_;
    Venergy top_;
    uint64_t time_ = 0;
};

}  // namespace

int main(int argc, char **argv) {
    if (argc != 6) return 2;
    Verilated::traceEverOn(true);
    Device device;
    std::FILE *file = std::fopen(argv[1], "r");
    if (!file) return 1;
    uint32_t space, address;
    uint64_t data;
    while (std::fscanf(file, "%" SCNu32 " %" SCNu32 " %" SCNx64, &space, &address, &data) == 3)
        device.write(space, address, data);
    std::fclose(file);
    std::printf("%" PRIu32 "\n", device.run(std::atoi(argv[2]), argv[5]));
    const uint32_t begin = std::atoi(argv[3]), count = std::atoi(argv[4]);
    for (uint32_t i = 0; i < count; i++) std::printf("%016" PRIx64 "\n", device.read(2, begin + i));
    return 0;
}
