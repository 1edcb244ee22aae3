// SPDX-License-Identifier: Apache-2.0
// Fixed-point functions of gemmlowp's header on streams of native int32:
//   gemmlowp FUNCTION < operands > results
// high_mul and divide_by_pot take pairs (a, b), the others single numbers.
#include <gemmlowp/fixedpoint/fixedpoint.h>

#include <cstdint>
#include <cstdio>
#include <string>

namespace {

bool Read(std::int32_t* value) { return std::fread(value, sizeof *value, 1, stdin) == 1; }

void Write(std::int32_t value) { std::fwrite(&value, sizeof value, 1, stdout); }

using Exponent = gemmlowp::FixedPoint<std::int32_t, 5>;  // Q5.26
using Fraction = gemmlowp::FixedPoint<std::int32_t, 0>;  // Q0.31

}  // namespace

int main(int argc, char** argv) {
  const std::string function = argc == 2 ? argv[1] : "";
  std::int32_t a, b;
  if (function == "high_mul") {
    while (Read(&a) && Read(&b)) Write(gemmlowp::SaturatingRoundingDoublingHighMul(a, b));
  } else if (function == "divide_by_pot") {
    while (Read(&a) && Read(&b)) Write(gemmlowp::RoundingDivideByPOT(a, b));
  } else if (function == "exp_on_negative_values") {
    while (Read(&a)) Write(gemmlowp::exp_on_negative_values(Exponent::FromRaw(a)).raw());
  } else if (function == "one_over_one_plus_x") {
    while (Read(&a)) {
      Write(gemmlowp::one_over_one_plus_x_for_x_in_0_1(Fraction::FromRaw(a)).raw());
    }
  } else {
    return 2;
  }
  return 0;
}
