// The bindings of cuda/ in one piece, which is parsed in a third of the time.
#include "../../cuda/bindings/module.cpp"
#include "../../cuda/bindings/register_devices.cpp"
#include "../../cuda/bindings/register_hamming.cpp"
#include "../../cuda/bindings/register_losses.cpp"
#include "../../cuda/emulator/register_emulator.cpp"
