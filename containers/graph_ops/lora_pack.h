// A whole adapter in one tensor of bytes: a header, a record for each branch of the graph, and the weights. Little-endian.
// containers/build/lora_pack.py writes it, toolkit/core/lora_pack.py reads its head; README.md tells the format.
// Nothing in it is trusted: a branch is handed out only after each of its numbers was held against the tensor's size.
#pragma once

#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

constexpr int kSegments = 4;   // of a branch: parts of a packed projection, such as q, k and v
constexpr int kRankStep = 8;   // ranks are filled up with zeros to a multiple of it
constexpr std::uint32_t kMostRank = 2048;

struct PackHead {
  char magic[8];
  std::uint32_t version, branches;
  std::uint64_t mark;  // of the content, so that another adapter at a reused address is known
  std::uint64_t bytes;
  char reserved[32];
};

struct PackSegment {
  std::uint32_t first_column, columns, first_rank, ranks;
  std::uint64_t at;  // of [ranks][columns]
};

struct PackBranch {
  std::uint32_t inputs, outputs, rank, segments;  // rank 0: the adapter leaves this projection alone
  std::uint64_t at;                               // of A, [rank / 8][inputs][8]
  std::uint64_t reserved;
  PackSegment of[kSegments];
};

static_assert(sizeof(PackHead) == 64 && sizeof(PackBranch) == 128, "as the packer writes them");

class LoraPack {
 public:
  // Empty bytes are no adapter. What is wrong with it; "" where nothing is.
  std::string open(const void* data, std::uint64_t bytes) {
    from_ = static_cast<const char*>(data), bytes_ = bytes;
    if (is_empty()) return "";
    if (bytes < sizeof head_) return "it is cut off";
    std::memcpy(&head_, from_, sizeof head_);
    if (std::memcmp(head_.magic, "EDGELORA", 8) != 0) return "the mark is missing";
    if (head_.version != 1) return "it is of format " + std::to_string(head_.version) + ", this library reads 1";
    if (head_.bytes != bytes || head_.branches > (bytes - sizeof head_) / sizeof(PackBranch)) return "it is cut off";
    return "";
  }

  bool is_empty() const { return bytes_ == 0; }
  const char* data() const { return from_; }
  std::uint64_t bytes() const { return bytes_; }
  std::uint64_t mark() const { return head_.mark; }

  // The record of a branch of `inputs` and `outputs`; of rank 0 where there is no adapter. What is wrong with it, or "".
  std::string branch(std::int64_t number, std::int64_t inputs, std::int64_t outputs, PackBranch& found) const {
    found = PackBranch{};
    if (is_empty()) return "";
    if (number < 0 || number >= head_.branches)
      return "it has " + std::to_string(head_.branches) + " branches, the graph asks for number " + std::to_string(number);
    std::memcpy(&found, from_ + sizeof head_ + number * sizeof found, sizeof found);
    if (found.inputs != inputs || (outputs >= 0 && found.outputs != outputs))
      return "branch " + std::to_string(number) + " has " + std::to_string(found.inputs) + " inputs and " + std::to_string(found.outputs) +
             " outputs, the projection has " + std::to_string(inputs) + (outputs < 0 ? " inputs" : " and " + std::to_string(outputs));
    return is_sound(found) ? "" : "branch " + std::to_string(number) + " points outside of it";
  }

 private:
  const char* from_ = nullptr;
  std::uint64_t bytes_ = 0;
  PackHead head_{};

  bool holds(std::uint64_t at, std::uint64_t values) const {
    return at % 16 == 0 && at <= bytes_ && values <= (bytes_ - at) / sizeof(std::uint16_t);
  }

  bool is_sound(const PackBranch& branch) const {
    if (branch.rank > kMostRank || branch.rank % kRankStep || branch.segments > kSegments) return false;
    if (!holds(branch.at, std::uint64_t{branch.rank} * branch.inputs)) return false;
    std::uint64_t next = 0;
    for (std::uint32_t number = 0; number < branch.segments; ++number) {
      const PackSegment& part = branch.of[number];
      if (part.first_column < next) return false;
      next = std::uint64_t{part.first_column} + part.columns;
      if (next > branch.outputs || std::uint64_t{part.first_rank} + part.ranks > branch.rank) return false;
      if (!holds(part.at, std::uint64_t{part.ranks} * part.columns)) return false;
    }
    return true;
  }
};
