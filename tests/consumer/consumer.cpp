// Uses the contract from outside: reads a problem and prints it again.
#include <iostream>

#include "reference/core/problem.hpp"

int main() { std::cout << plumb::problem::parse("conv2d  x=1x3x8x8   weight=4x3x3x3").print() << '\n'; }
