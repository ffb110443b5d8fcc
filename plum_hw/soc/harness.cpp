// The simulated board: array and controller, with models of what is around the chip.
//
//     board PARENT ROM FLASH DIVISOR CYCLES [FLAGS...]
//
// PARENT is the process whose end ends this one, ROM the firmware, FLASH what the SPI flash holds from
// byte 0 on, DIVISOR the clock cycles of a bit on the serial line, CYCLES how long to run at most (0:
// without end). FLAGS: "save" writes the flash back at the end.
//
// Standard input goes to the chip's serial line; a byte 0xFF begins an escape: 0xFF again is that byte,
// any other value are the buttons from then on. Standard output is what the chip sends. On standard
// error, a line each: "leds N CYCLE", "trap CYCLE", "run CYCLE CYCLES FETCHES" after each run of the
// array (how long it was busy and in how many of those cycles the ROM's address moved), and at the end
// "cycles N seconds S". The end is when the cycles are over, or standard input is closed and nothing
// has happened on the line for QUIET cycles.

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <fstream>
#include <iterator>
#include <memory>
#include <string>
#include <vector>

#include "Vboard.h"
#include "verilated.h"

namespace {

constexpr uint64_t kPollCycles = 4096;
// Longer than anything that firmware does without a word on the line, but for endless runs.
constexpr uint64_t kQuiet = 40'000'000;
constexpr size_t kFlashBytes = 1 << 24;
constexpr size_t kPage = 256;
// A real flash takes a thousand times as long.
constexpr uint64_t kProgramCycles = 300, kEraseCycles = 2000;

volatile sig_atomic_t stopped = 0;
void stop(int) { stopped = 1; }

std::vector<uint8_t> read_file(const char *path) {
    std::ifstream file(path, std::ios::binary);
    if (!file) {
        std::fprintf(stderr, "simulated board: cannot read %s\n", path);
        std::exit(1);
    }
    return {std::istreambuf_iterator<char>(file), {}};
}

// A W25Q128JV, as far as controllers use one: mode 0, one data line.
class Flash {
  public:
    explicit Flash(std::vector<uint8_t> content) : content_(std::move(content)) {
        used_ = content_.size();
        content_.resize(kFlashBytes, 0xff);
    }

    // Levels of the pins after each clock cycle; the level of the output.
    bool cycle(bool cs_n, bool clk, bool copi, uint64_t now) {
        if (cs_n) {
            if (!cs_n_) deselect(now);
        } else if (cs_n_) {
            bits_ = 0;
            bytes_ = 0;
            out_ = false;
        } else if (clk && !clk_) {
            in_ = static_cast<uint8_t>(in_ << 1 | copi);
            if (++bits_ % 8 == 0) take(in_, now);
        } else if (!clk && clk_) {
            out_ = give_ >> 7 & 1;
            give_ = static_cast<uint8_t>(give_ << 1);
        }
        cs_n_ = cs_n;
        clk_ = clk;
        return out_;
    }

    const std::vector<uint8_t> &content() const { return content_; }
    size_t used() const { return used_; }

  private:
    void take(uint8_t byte, uint64_t now) {
        const uint64_t index = bytes_++;
        give_ = 0xff;
        if (index == 0) {
            command_ = byte;
            address_ = 0;
            page_.clear();
            if (command_ == 0x9f) give_ = 0xef;
            if (command_ == 0x05) give_ = status(now);
            return;
        }
        switch (command_) {
        case 0x9f: give_ = index == 1 ? 0x40 : 0x18; break;
        case 0x05: give_ = status(now); break;
        case 0x03:
        case 0x0b: {
            const uint64_t dummies = command_ == 0x0b ? 1 : 0;
            if (index <= 3) address_ = address_ << 8 | byte;
            if (index >= 3 + dummies && !busy(now)) {
                give_ = content_[address_ % kFlashBytes];
                ++address_;
            }
            break;
        }
        case 0x02:
            if (index <= 3) {
                address_ = address_ << 8 | byte;
            } else {
                page_.push_back(byte);
            }
            break;
        case 0xd8:
        case 0x20:
            if (index <= 3) address_ = address_ << 8 | byte;
            break;
        default: break;
        }
    }

    void deselect(uint64_t now) {
        const bool whole = bits_ % 8 == 0;
        if (command_ == 0x06 && bytes_ == 1 && whole) {
            enabled_ = true;
            return;
        }
        if (!enabled_ || busy(now) || !whole) return;
        if (command_ == 0x02 && bytes_ > 4) {
            // What is written wraps within its page, and only clears bits.
            for (size_t i = 0; i < page_.size(); ++i) {
                const size_t place = address_ / kPage * kPage + (address_ + i) % kPage;
                content_[place % kFlashBytes] &= page_[i];
                used_ = std::max(used_, place + 1);
            }
            ready_ = now + kProgramCycles;
            enabled_ = false;
        } else if ((command_ == 0xd8 || command_ == 0x20) && bytes_ == 4) {
            const size_t size = command_ == 0xd8 ? 65536 : 4096;
            const size_t begin = address_ % kFlashBytes / size * size;
            std::memset(&content_[begin], 0xff, size);
            ready_ = now + kEraseCycles;
            enabled_ = false;
        }
    }

    bool busy(uint64_t now) const { return now < ready_; }
    uint8_t status(uint64_t now) const {
        return static_cast<uint8_t>(busy(now) | enabled_ << 1);
    }

    std::vector<uint8_t> content_, page_;
    size_t used_;
    bool cs_n_ = true, clk_ = false, out_ = false, enabled_ = false;
    uint8_t in_ = 0, give_ = 0xff, command_ = 0;
    uint64_t bits_ = 0, bytes_ = 0, address_ = 0, ready_ = 0;
};

// The far end of the serial line.
class Line {
  public:
    explicit Line(unsigned divisor) : divisor_(divisor) {
        ::fcntl(0, F_SETFL, ::fcntl(0, F_GETFL) | O_NONBLOCK);
    }

    void send(uint8_t byte) { sending_.push_back(byte); }
    bool sending() const { return !sending_.empty() || out_bits_; }

    // One clock cycle: the level that the chip sends, and the one that it gets.
    bool cycle(bool tx) {
        if (in_bits_ == 0) {
            if (!tx) {
                in_bits_ = 10;
                in_timer_ = divisor_ / 2;
            }
        } else if (in_timer_-- == 0) {
            in_timer_ = divisor_ - 1;
            in_ = in_ >> 1 | (tx ? 0x200 : 0);
            if (--in_bits_ == 0 && in_ >> 9) received_.push_back(static_cast<char>(in_ >> 1));
        }
        if (out_bits_ == 0 && !sending_.empty()) {
            out_ = 0x200 | sending_.front() << 1;
            sending_.pop_front();
            out_bits_ = 10;
            out_timer_ = divisor_;
        }
        if (out_bits_ == 0) return true;
        const bool level = out_ & 1;
        if (--out_timer_ == 0) {
            out_timer_ = divisor_;
            out_ >>= 1;
            --out_bits_;
        }
        return level;
    }

    // Write what has come; whether there was something.
    bool flush() {
        if (received_.empty()) return false;
        size_t done = 0;
        while (done < received_.size()) {
            const ssize_t count = ::write(1, received_.data() + done, received_.size() - done);
            if (count < 0 && errno != EINTR) std::exit(0);
            if (count > 0) done += static_cast<size_t>(count);
        }
        received_.clear();
        return true;
    }

  private:
    unsigned divisor_, in_ = 0, in_bits_ = 0, in_timer_ = 0, out_ = 0, out_bits_ = 0, out_timer_ = 0;
    std::deque<uint8_t> sending_;
    std::string received_;
};

// Standard input: bytes for the line, and buttons.
class Input {
  public:
    bool open() const { return open_; }
    unsigned buttons() const { return buttons_; }

    void poll(Line &line) {
        uint8_t bytes[256];
        const ssize_t count = ::read(0, bytes, sizeof bytes);
        if (count == 0) open_ = false;
        for (ssize_t i = 0; i < count; ++i) {
            if (escaped_) {
                escaped_ = false;
                if (bytes[i] != 0xff) {
                    buttons_ = bytes[i];
                    continue;
                }
            } else if (bytes[i] == 0xff) {
                escaped_ = true;
                continue;
            }
            line.send(bytes[i]);
        }
    }

  private:
    bool open_ = true, escaped_ = false;
    unsigned buttons_ = 0;
};

class Rom {
  public:
    explicit Rom(const std::vector<uint8_t> &bytes) : words_(1 << 14) {
        for (size_t i = 0; i < bytes.size() && i < 4 * words_.size(); ++i) {
            words_[i / 4] |= static_cast<uint32_t>(bytes[i]) << 8 * (i % 4);
        }
    }
    uint32_t word(uint32_t address) const { return words_[address]; }

  private:
    std::vector<uint32_t> words_;
};

}  // namespace

int main(int argc, char **argv) {
    if (argc < 6) {
        std::fprintf(stderr, "usage: %s PARENT ROM FLASH DIVISOR CYCLES [save]\n", argv[0]);
        return 2;
    }
    const pid_t parent = static_cast<pid_t>(std::atol(argv[1]));
    const Rom rom(read_file(argv[2]));
    Flash flash(read_file(argv[3]));
    Line line(static_cast<unsigned>(std::atoi(argv[4])));
    const uint64_t limit = std::strtoull(argv[5], nullptr, 10);
    const bool save = argc > 6 && std::strcmp(argv[6], "save") == 0;
    struct sigaction action {};
    action.sa_handler = stop;
    ::sigaction(SIGTERM, &action, nullptr);
    // A Ctrl-C at the terminal is meant for the parent, which says when to stop.
    ::signal(SIGINT, SIG_IGN);

    auto context = std::make_unique<VerilatedContext>();
    auto top = std::make_unique<Vboard>(context.get());
    Input input;
    uint64_t now = 0, quiet = 0, busy_from = 0, fetches = 0;
    uint32_t address = 0;
    unsigned leds = 0;
    bool busy = false, trapped = false;

    top->rx = 1;
    top->rst = 1;
    const auto clock = [&] {
        top->clk = 1;
        top->eval();
        top->clk = 0;
        top->eval();
    };
    top->clk = 0;
    top->eval();
    for (int i = 0; i < 4; ++i) clock();
    top->rst = 0;
    top->eval();

    const auto begin = std::chrono::steady_clock::now();
    while (!stopped && (limit == 0 || now < limit) && ::getppid() == parent) {
        if (input.open()) input.poll(line);
        top->buttons = input.buttons();
        for (uint64_t i = 0; i < kPollCycles; ++i) {
            // What the chip shows now decides what it sees after the edge.
            const uint32_t word = rom.word(top->rom_address);
            fetches += top->busy && top->rom_address != address;
            address = top->rom_address;
            top->flash_cipo = flash.cycle(top->flash_cs_n, top->flash_clk, top->flash_copi, now);
            top->rx = line.cycle(top->tx);
            top->clk = 1;
            top->eval();
            top->rom_data = word;
            top->clk = 0;
            top->eval();
            ++now;
            if (top->busy != busy) {
                busy = top->busy;
                if (busy) {
                    busy_from = now;
                    fetches = 0;
                } else {
                    std::fprintf(stderr, "run %llu %llu %llu\n", (unsigned long long)now,
                                 (unsigned long long)(now - busy_from),
                                 (unsigned long long)fetches);
                }
            }
            if (top->leds != leds) {
                leds = top->leds;
                std::fprintf(stderr, "leds %u %llu\n", leds, (unsigned long long)now);
            }
            if (top->error && !trapped) {
                trapped = true;
                std::fprintf(stderr, "trap %llu\n", (unsigned long long)now);
            }
        }
        quiet = line.flush() || line.sending() ? 0 : quiet + kPollCycles;
        if (!input.open() && quiet >= kQuiet) break;
        if (trapped && quiet >= 1'000'000) break;
    }
    line.flush();
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - begin;
    top->final();
    if (save) {
        std::ofstream file(argv[3], std::ios::binary);
        file.write(reinterpret_cast<const char *>(flash.content().data()),
                   static_cast<std::streamsize>(flash.used()));
    }
    std::fprintf(stderr, "cycles %llu seconds %.6f\n", (unsigned long long)now, seconds.count());
    return 0;
}
