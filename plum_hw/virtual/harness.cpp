// Virtual board: the compiled accelerator behind a loopback TCP socket, or UDP.
//
//     board PARENT PORT QUIET IP:UDP [TRACE]
//
// PARENT is the process whose end ends this one, PORT the port to listen on (0: any), QUIET the
// number of cycles without a byte and without a request being served after which nothing can change
// any more, IP:UDP the device's address as two numbers where PLUM_MII is defined and it is reached
// over its MII (else 0:0).
// SIGUSR1 is a power cut: the device begins anew with empty memories, the client stays.
// Standard output: "port N" at the start, "cycles N seconds S" (of the processor)
// at the end, and with an MII "mii" and the MiiCounts.

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <memory>
#include <vector>

#include "Vboard.h"
#include "verilated.h"
#if PLUM_MII
#include "mii.h"
#endif
#if VM_TRACE_FST
#include "verilated_fst_c.h"
#endif

namespace {

// Cycles between two looks at the socket: a look costs about as much as one cycle.
constexpr uint64_t kPollCycles = 64;
// How long to sleep in poll() when there is nothing to simulate; also how fast an end of the parent
// is noticed.
constexpr int kIdleMilliseconds = 200;
constexpr size_t kBufferBytes = 1 << 16;

volatile sig_atomic_t stopped = 0;
volatile sig_atomic_t power_cut = 0;

void stop(int) { stopped = 1; }
void cut_power(int) { power_cut = 1; }

[[noreturn]] void fail(const char *what) {
    std::fprintf(stderr, "virtual board: %s: %s\n", what, std::strerror(errno));
    std::exit(1);
}

// Other programs on the machine do not count.
double processor_seconds() {
    timespec time;
    ::clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
    return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

// Bytes between the socket and the device. One client at a time; another one is closed at once.
// While there is none, datagrams to the same port are taken, and packets go back to their sender.
class Line {
  public:
    explicit Line(int port) {
        listener_ = ::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        if (listener_ < 0) fail("socket");
        int on = 1;
        ::setsockopt(listener_, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
        sockaddr_in address{};
        address.sin_family = AF_INET;
        address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        address.sin_port = htons(static_cast<uint16_t>(port));
        auto *any = reinterpret_cast<sockaddr *>(&address);
        if (::bind(listener_, any, sizeof address) != 0) fail("bind");
        if (::listen(listener_, 4) != 0) fail("listen");
        socklen_t size = sizeof address;
        ::getsockname(listener_, any, &size);
        port_ = ntohs(address.sin_port);
        datagrams_ = ::socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        if (datagrams_ < 0) fail("socket");
        if (::bind(datagrams_, any, sizeof address) != 0) fail("bind");
        received_.resize(kBufferBytes);
        sending_.reserve(kBufferBytes);
    }

    int port() const { return port_; }

    // Move what can be moved now; wait up to `milliseconds` for something to come.
    void poll(int milliseconds) {
        pollfd watched[3] = {{listener_, POLLIN, 0}, {client_, POLLRDHUP, 0}, {datagrams_, 0, 0}};
        if (!has_byte()) watched[1].events |= POLLIN;
        if (!has_byte()) watched[2].events |= POLLIN;
        if (!sending_.empty()) watched[1].events |= POLLOUT;
        if (::poll(watched, 3, milliseconds) <= 0) return;
        if (watched[2].revents) receive_datagram();
        // A client that has hung up may have left bytes: they come first, the next client waits.
        const bool hung_up = watched[1].revents & (POLLRDHUP | POLLHUP);
        if (client_ >= 0 && watched[1].revents) {
            if (watched[1].revents & (POLLIN | POLLHUP | POLLERR)) receive();
            if (client_ >= 0 && (watched[1].revents & POLLOUT)) send();
        }
        if (watched[0].revents && (client_ < 0 || !hung_up)) accept();
    }

    bool has_byte() const { return next_ < end_; }
    uint8_t byte() const { return received_[next_]; }
    void take_byte() { ++next_; }
    // A datagram, or of a stream as many whole packets as fit into one.
    std::vector<uint8_t> take(size_t most) {
        size_t end = end_;
        if (end - next_ > most) {
            end = next_ + most;
            while (end > next_ && received_[end - 1] != 0) --end;
            if (end == next_) end = next_ + most;
        }
        std::vector<uint8_t> data(received_.begin() + static_cast<long>(next_),
                                  received_.begin() + static_cast<long>(end));
        next_ = end;
        return data;
    }
    // What was on its way to a device that has lost its power, or from it.
    void lose_bytes() {
        next_ = end_ = 0;
        sending_.clear();
    }

    // With nobody there, bytes are lost, as on a line.
    bool has_room() const { return client_ < 0 || sending_.size() < kBufferBytes; }
    void put_byte(uint8_t value) {
        if (client_ >= 0) {
            sending_.push_back(value);
        } else if (peer_.sin_port != 0) {
            packet_.push_back(value);
            if (value == 0 || packet_.size() == kBufferBytes / 2) send_datagram();
        }
    }

  private:
    void accept() {
        int socket = ::accept4(listener_, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (socket < 0) return;
        if (client_ >= 0) {
            ::close(socket);
            return;
        }
        int on = 1;
        ::setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        client_ = socket;
    }

    void receive() {
        if (has_byte()) return;
        ssize_t count = ::recv(client_, received_.data(), received_.size(), 0);
        if (count > 0) {
            next_ = 0;
            end_ = static_cast<size_t>(count);
        } else if (count == 0 || (errno != EAGAIN && errno != EINTR)) {
            leave();
        }
    }

    void send() {
        ssize_t count = ::send(client_, sending_.data(), sending_.size(), MSG_NOSIGNAL);
        if (count > 0) {
            sending_.erase(sending_.begin(), sending_.begin() + count);
        } else if (count < 0 && errno != EAGAIN && errno != EINTR) {
            leave();
        }
    }

    void receive_datagram() {
        sockaddr_in peer{};
        socklen_t size = sizeof peer;
        auto *any = reinterpret_cast<sockaddr *>(&peer);
        std::vector<uint8_t> &into = client_ < 0 ? received_ : dropped_;
        into.resize(kBufferBytes);
        ssize_t count = ::recvfrom(datagrams_, into.data(), into.size(), 0, any, &size);
        if (count <= 0 || client_ >= 0) return;
        peer_ = peer;
        next_ = 0;
        end_ = static_cast<size_t>(count);
    }

    void send_datagram() {
        auto *any = reinterpret_cast<sockaddr *>(&peer_);
        // What cannot be sent is lost, as on a net.
        ::sendto(datagrams_, packet_.data(), packet_.size(), 0, any, sizeof peer_);
        packet_.clear();
    }

    void leave() {
        ::close(client_);
        client_ = -1;
        sending_.clear();
    }

    int listener_ = -1;
    int client_ = -1;
    int datagrams_ = -1;
    int port_ = 0;
    sockaddr_in peer_{};
    std::vector<uint8_t> packet_, dropped_;
    std::vector<uint8_t> received_;
    size_t next_ = 0, end_ = 0;
    std::vector<uint8_t> sending_;
};

// The compiled gateware and its clock.
class Device {
  public:
    Device(VerilatedContext *context, const char *address, const char *trace)
        : context_(context), top_(context) {
#if PLUM_MII
        unsigned long ip = 0, udp = 0;
        if (std::sscanf(address, "%lu:%lu", &ip, &udp) != 2) fail(address);
        mii_ = MiiLine(static_cast<uint32_t>(ip), static_cast<uint16_t>(udp));
#else
        (void)address;
#endif
#if VM_TRACE_FST
        if (trace != nullptr) {
            context_->traceEverOn(true);
            top_.trace(&trace_, 99);
            trace_.open(trace);
            if (!trace_.isOpen()) fail(trace);
        }
#else
        (void)trace;
#endif
        top_.rst = 1;
        for (int i = 0; i < 4; ++i) {
            low();
            high();
        }
        top_.rst = 0;
    }

    ~Device() {
        top_.final();
#if VM_TRACE_FST
        if (trace_.isOpen()) trace_.close();
#endif
    }

#if PLUM_MII
    // One clock cycle, of which the MII's clock has four; true if something moved or is to.
    bool cycle(Line &line) {
        const int phase = static_cast<int>(cycles_ & 3);
        if (phase == 0) {
            // What the last rising edge brought, and what the next will see.
            for (uint8_t byte : mii_.take(top_.mii_tx_en, top_.mii_tx_data)) line.put_byte(byte);
            if (line.has_byte()) {
                mii_.look_for();
                if (mii_.has_room()) mii_.give(line.take(kDatagramBytes));
            }
            const int nibble = mii_.next();
            top_.mii_rx_dv = nibble >= 0;
            top_.mii_rx_data = nibble >= 0 ? nibble : 0;
            top_.mii_clk = 0;
        } else if (phase == 2) {
            top_.mii_clk = 1;
        }
        low();
        const bool serves = !top_.idle;
        high();
        ++cycles_;
        return serves || top_.mii_tx_en || mii_.busy();
    }

    const MiiCounts &mii() const { return mii_.counts(); }
#else
    // One clock cycle; true if something moved or a request is being served.
    bool cycle(Line &line) {
        top_.rx_valid = line.has_byte();
        if (top_.rx_valid) top_.rx_payload = line.byte();
        top_.tx_ready = line.has_room();
        low();
        const bool took = top_.rx_valid && top_.rx_ready;
        const bool gave = top_.tx_valid && top_.tx_ready;
        if (took) line.take_byte();
        if (gave) line.put_byte(top_.tx_payload);
        const bool serves = !top_.idle;
        high();
        ++cycles_;
        return took || gave || serves || top_.tx_valid;
    }
#endif

    uint64_t cycles() const { return cycles_; }

  private:
    void low() {
        top_.clk = 0;
        top_.eval();
        dump();
    }
    void high() {
        top_.clk = 1;
        top_.eval();
        dump();
    }
    void dump() {
#if VM_TRACE_FST
        if (trace_.isOpen()) trace_.dump(time_++);
#endif
    }

    VerilatedContext *context_;
    Vboard top_;
#if PLUM_MII
    static constexpr size_t kDatagramBytes = 1472;
    MiiLine mii_{0, 0};
#endif
    uint64_t cycles_ = 0;
#if VM_TRACE_FST
    VerilatedFstC trace_;
    uint64_t time_ = 0;
#endif
};

}  // namespace

int main(int argc, char **argv) {
    if (argc < 5) {
        std::fprintf(stderr, "usage: %s PARENT PORT QUIET IP:UDP [TRACE]\n", argv[0]);
        return 2;
    }
    const pid_t parent = static_cast<pid_t>(std::atol(argv[1]));
    const uint64_t quiet_cycles = std::strtoull(argv[3], nullptr, 10);
    struct sigaction action {};
    action.sa_handler = stop;
    ::sigaction(SIGTERM, &action, nullptr);
    action.sa_handler = cut_power;
    ::sigaction(SIGUSR1, &action, nullptr);
    // A Ctrl-C at the terminal is meant for the parent, which says when to stop.
    ::signal(SIGINT, SIG_IGN);

    Line line(std::atoi(argv[2]));
    auto context = std::make_unique<VerilatedContext>();
    const char *trace = argc > 5 ? argv[5] : nullptr;
    auto device = std::make_unique<Device>(context.get(), argv[4], trace);
    std::printf("port %d\n", line.port());
    std::fflush(stdout);

    double simulated = 0;
    uint64_t quiet = 0;
    uint64_t cycles = 0;  // of devices before a power cut
    while (!stopped && ::getppid() == parent) {
        if (power_cut) {
            power_cut = 0;
            cycles += device->cycles();
            device.reset();
            context = std::make_unique<VerilatedContext>();
            device = std::make_unique<Device>(context.get(), argv[4], nullptr);
            line.lose_bytes();
        }
        const bool idle = quiet >= quiet_cycles && !line.has_byte();
        line.poll(idle ? kIdleMilliseconds : 0);
        if (idle && !line.has_byte()) continue;
        const double begin = processor_seconds();
        for (uint64_t i = 0; i < kPollCycles; ++i) quiet = device->cycle(line) ? 0 : quiet + 1;
        simulated += processor_seconds() - begin;
    }
    std::printf("cycles %llu seconds %.6f\n", static_cast<unsigned long long>(cycles + device->cycles()),
                simulated);
#if PLUM_MII
    const MiiCounts &mii = device->mii();
    std::printf("mii %llu %llu %llu %llu %llu %llu\n", (unsigned long long)mii.to_frames,
                (unsigned long long)mii.to_nibbles, (unsigned long long)mii.from_frames,
                (unsigned long long)mii.from_nibbles, (unsigned long long)mii.payload,
                (unsigned long long)mii.bad);
#endif
    return 0;
}
