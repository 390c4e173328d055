// Bands of rows, each worked on by a thread of its own.
#pragma once

#include <cstdint>
#include <exception>
#include <system_error>
#include <thread>
#include <vector>

namespace tcl {

// Pixels of a frame below which a thread of its own costs more than it saves.
constexpr std::int64_t kPixelsPerThread = 1 << 19;

// Calls work(begin, end) for `bands` consecutive parts of [0, rows) at the same time, and waits. Rethrows
// what one threw.
template <typename Work>
void in_bands(std::int64_t rows, std::int64_t bands, const Work& work) {
  if (bands <= 1) return work(std::int64_t{0}, rows);
  std::vector<std::exception_ptr> errors(static_cast<std::size_t>(bands));
  const auto guarded = [&](std::int64_t band) noexcept {
    try {
      work(rows * band / bands, rows * (band + 1) / bands);
    } catch (...) {
      errors[static_cast<std::size_t>(band)] = std::current_exception();
    }
  };
  std::vector<std::thread> threads;
  threads.reserve(static_cast<std::size_t>(bands));
  std::int64_t next = 1;
  try {
    for (; next < bands; ++next) threads.emplace_back(guarded, next);
  } catch (const std::system_error&) {  // no more threads to be had: the caller's does the rest
  }
  guarded(0);
  for (; next < bands; ++next) guarded(next);
  for (std::thread& thread : threads) thread.join();
  for (const std::exception_ptr& error : errors) {
    if (error) std::rethrow_exception(error);
  }
}

}  // namespace tcl
