// Package powercut cuts the power of a disk under a running broker.
//
// A [Disk] is an ext4 file system on a loop device. The file that the device shows is
// in another ext4 file system, whose page cache is the disk's write cache. Cutting the disk's power means to shut
// that lower file system down without flushing its journal: what was synced is there after the next mount, what was only
// written is not, or some of it is, also when it was written past the page cache of the upper one. Killing the process
// cannot show this, because the kernel keeps what was written. The upper file system can be shut down alone, too: the
// disk keeps what it has got then, and the file system may call a sync a success that was none.
//
// The tests load a real broker with stock clients of both protocols, cut the
// power, restart, and compare what the broker acknowledged with what is
// there. They need root and loop devices, and are skipped without. The environment
// variable POWERCUTS says how often the power is cut, and makes the tests fail
// where they would be skipped; POWERCUT_SEED repeats the random choices of a run.
package powercut
