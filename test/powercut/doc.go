// Package powercut cuts the power of a disk under a running broker.
//
// A [Disk] is an ext4 file system in a loop-mounted image. Cutting its power
// means to shut the file system down without flushing its journal: what was
// synced is there after the next mount, what was only written is not. Killing
// the process cannot show this, because the kernel keeps what was written.
//
// The tests load a real broker with stock clients of both protocols, cut the
// power, restart, and compare what the broker acknowledged with what is
// there. They need root and loop devices, and are skipped without. The environment
// variable POWERCUTS says how often the power is cut, and makes the tests fail
// where they would be skipped; POWERCUT_SEED repeats the random choices of a run.
package powercut
