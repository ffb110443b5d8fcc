// The other end of a board's Ethernet cable: datagrams of a socket become frames on its MII, and
// what it sends becomes datagrams. A nibble each way every 40 ns, as at 100 Mbit/s.

#pragma once

#include <cstdint>
#include <deque>
#include <vector>

// What passed over the line; bytes and nibbles include preamble, check and gap.
struct MiiCounts {
    uint64_t to_frames = 0, to_nibbles = 0;      // to the device
    uint64_t from_frames = 0, from_nibbles = 0;  // from the device
    uint64_t payload = 0;                        // bytes in datagrams to the device
    uint64_t bad = 0;                            // frames of the device that are not what they must be
};

class MiiLine {
  public:
    using Bytes = std::vector<uint8_t>;

    // The addresses of the device, host byte order.
    MiiLine(uint32_t ip, uint16_t port) : ip_(ip), port_(port) {}

    const MiiCounts &counts() const { return counts_; }
    bool busy() const { return at_ < sending_.size() || gap_ > 0 || !queue_.empty() || !came_.empty(); }
    // Whether a datagram may be given: none waits, and it is known where the device is.
    bool has_room() const { return queue_.empty() && at_ >= sending_.size() && known_; }
    bool known() const { return known_; }

    void give(const Bytes &data) {
        counts_.payload += data.size();
        Bytes packet = {0x45, 0, 0, 0, 0, 0, 0x40, 0, 64, kUdp, 0, 0};
        put(packet, own_ip(), 4);
        put(packet, ip_, 4);
        patch(packet, 2, 28 + data.size());
        patch(packet, 10, internet_sum(packet, 0, 20));
        put(packet, kPort, 2);
        put(packet, port_, 2);
        put(packet, 8 + data.size(), 2);
        put(packet, 0, 2);
        packet.insert(packet.end(), data.begin(), data.end());
        queue(device_mac_, kIpv4, packet);
    }

    // Ask where the device is, now and then until it is known.
    void look_for() {
        if (patience_ > 0 || known_) return;
        patience_ = kPatience;
        queue(0xffffffffffff, kArp, arp(1, 0, ip_));
    }

    // The nibble for the device's next clock; -1 between frames.
    int next() {
        if (patience_ > 0) --patience_;
        if (gap_ > 0) {
            --gap_;
            ++counts_.to_nibbles;
            return -1;
        }
        if (at_ >= sending_.size()) {
            if (queue_.empty()) return -1;
            sending_ = std::move(queue_.front());
            queue_.pop_front();
            at_ = 0;
            high_ = false;
            ++counts_.to_frames;
        }
        ++counts_.to_nibbles;
        const int nibble = high_ ? sending_[at_] >> 4 : sending_[at_] & 15;
        if (high_) ++at_;
        high_ = !high_;
        if (at_ >= sending_.size()) gap_ = kGap;
        return nibble;
    }

    // What the device sends in a clock; where that ends a datagram for the host, its data.
    Bytes take(bool enable, int nibble) {
        if (enable) {
            ++counts_.from_nibbles;
            if (low_ < 0) {
                low_ = nibble;
            } else {
                came_.push_back(static_cast<uint8_t>(low_ | nibble << 4));
                low_ = -1;
            }
            return {};
        }
        if (came_.empty()) return {};
        counts_.from_nibbles += kGap;
        Bytes frame;
        frame.swap(came_);
        ++counts_.from_frames;
        Bytes data;
        if (low_ >= 0 || !receive(frame, data)) ++counts_.bad;
        low_ = -1;
        return data;
    }

  private:
    static constexpr int kGap = 24;             // nibbles
    static constexpr int kPatience = 250'000;   // nibbles: 10 ms
    static constexpr size_t kPreamble = 8, kHead = 14, kCheck = 4, kLeast = 60;
    static constexpr uint16_t kArp = 0x0806, kIpv4 = 0x0800, kPort = 40'000;
    static constexpr uint8_t kUdp = 17;
    static constexpr uint64_t kMac = 0x020000000002;

    // A neighbour of the device.
    uint32_t own_ip() const { return ip_ ^ 1; }

    static void put(Bytes &into, uint64_t value, int bytes) {
        while (bytes-- > 0) into.push_back(static_cast<uint8_t>(value >> 8 * bytes));
    }
    static void patch(Bytes &into, size_t at, uint64_t value) {
        into[at] = static_cast<uint8_t>(value >> 8);
        into[at + 1] = static_cast<uint8_t>(value);
    }
    static uint64_t get(const Bytes &from, size_t at, int bytes) {
        uint64_t value = 0;
        while (bytes-- > 0) value = value << 8 | from[at++];
        return value;
    }
    static uint16_t internet_sum(const Bytes &data, size_t begin, size_t end) {
        uint32_t sum = 0;
        for (size_t at = begin; at < end; at += 2) sum += static_cast<uint32_t>(get(data, at, 2));
        while (sum >> 16) sum = (sum & 0xffff) + (sum >> 16);
        return static_cast<uint16_t>(~sum);
    }
    static uint32_t check(const Bytes &data, size_t begin, size_t end) {
        uint32_t crc = ~0u;
        for (size_t at = begin; at < end; ++at) {
            crc ^= data[at];
            for (int bit = 0; bit < 8; ++bit) crc = crc >> 1 ^ (crc & 1 ? 0xedb88320 : 0);
        }
        return ~crc;
    }

    void queue(uint64_t to, uint16_t kind, const Bytes &content) {
        Bytes frame(kPreamble - 1, 0x55);
        frame.push_back(0xd5);
        put(frame, to, 6);
        put(frame, kMac, 6);
        put(frame, kind, 2);
        frame.insert(frame.end(), content.begin(), content.end());
        if (frame.size() < kPreamble + kLeast) frame.resize(kPreamble + kLeast);
        const uint32_t crc = check(frame, kPreamble, frame.size());
        for (int byte = 0; byte < 4; ++byte) frame.push_back(static_cast<uint8_t>(crc >> 8 * byte));
        queue_.push_back(std::move(frame));
    }

    Bytes arp(int operation, uint64_t to_mac, uint32_t to_ip) const {
        Bytes content;
        put(content, 0x0001080006040000 | static_cast<uint64_t>(operation), 8);
        put(content, kMac, 6);
        put(content, own_ip(), 4);
        put(content, to_mac, 6);
        put(content, to_ip, 4);
        return content;
    }

    // False for a frame that no device may send.
    bool receive(const Bytes &line, Bytes &data) {
        if (line.size() < kPreamble + kLeast + kCheck) return false;
        for (size_t at = 0; at < kPreamble; ++at)
            if (line[at] != (at < kPreamble - 1 ? 0x55 : 0xd5)) return false;
        const size_t end = line.size() - kCheck;
        const uint32_t crc = check(line, kPreamble, end);
        for (size_t byte = 0; byte < kCheck; ++byte)
            if (line[end + byte] != (crc >> 8 * byte & 0xff)) return false;
        const size_t at = kPreamble + kHead;
        const uint64_t kind = get(line, at - 2, 2);
        if (kind == kArp) {
            const uint64_t operation = get(line, at + 6, 2);
            if (get(line, at + 24, 4) != own_ip() || get(line, at + 14, 4) != ip_) return true;
            device_mac_ = get(line, at + 8, 6);
            known_ = true;
            if (operation == 1) queue(device_mac_, kArp, arp(2, device_mac_, ip_));
            return true;
        }
        if (kind != kIpv4 || line[at] != 0x45 || internet_sum(line, at, at + 20) != 0) return false;
        const size_t length = get(line, at + 2, 2);
        if (line[at + 9] != kUdp || length < 28 || at + length > end) return false;
        if (get(line, at + 12, 4) != ip_ || get(line, at + 16, 4) != own_ip()) return false;
        if (get(line, at + 20, 2) != port_ || get(line, at + 22, 2) != kPort) return false;
        if (get(line, at + 24, 2) != length - 20) return false;
        data.assign(line.begin() + static_cast<long>(at + 28),
                    line.begin() + static_cast<long>(at + length));
        return true;
    }

    uint32_t ip_;
    uint16_t port_;
    uint64_t device_mac_ = 0;
    bool known_ = false;
    int patience_ = 0;
    std::deque<Bytes> queue_;
    Bytes sending_;
    size_t at_ = 0;
    bool high_ = false;
    int gap_ = 0;
    Bytes came_;
    int low_ = -1;
    MiiCounts counts_;
};
