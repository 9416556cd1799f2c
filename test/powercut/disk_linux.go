package powercut

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The ioctl that shuts a file system down, _IOR('X', 125, uint32), and its
// flag that drops what the journal has not written yet.
const (
	fsIocShutdown    = 0x8004587d
	shutdownNoFlush  = 2
	loopControl      = "/dev/loop-control"
	unmountPatience  = time.Minute
	unmountRetryWait = 2 * time.Millisecond
)

// Disk is an ext4 file system on a disk of its own, whose power can be cut.
//
// The disk is a loop device on a file of another file system, which is in an
// image again, on a loop device as well. What is written to the disk is in the page cache of the
// lower file system first: that is the disk's write cache. A flush of the disk
// is a sync of that file, and the disk loses its power when the lower file system is shut down. Also what was written
// to the disk past the page cache of the upper one is lost then, if no sync followed.
type Disk struct {
	Dir string // where it is mounted

	t            testing.TB
	below, above volume
}

// volume is an ext4 file system on a loop device.
type volume struct {
	image   string // the file that the loop device shows
	dir     string // where it is mounted
	options string
	mounted bool
}

// Unavailable tells why there can be no Disk on this machine, or returns nil.
func Unavailable() error {
	if os.Geteuid() != 0 {
		return errors.New("a power cut needs root, to mount a file system and shut it down")
	}
	if _, err := exec.LookPath("mkfs.ext4"); err != nil {
		return fmt.Errorf("a power cut needs mkfs.ext4: %w", err)
	}
	control, err := os.OpenFile(loopControl, os.O_RDWR, 0)
	if err != nil {
		return fmt.Errorf("a power cut needs loop devices: %w", err)
	}
	defer control.Close() //nolint:errcheck // nothing is written
	if _, err := unix.IoctlRetInt(int(control.Fd()), unix.LOOP_CTL_GET_FREE); err != nil {
		return fmt.Errorf("a power cut needs loop devices: %w", err)
	}
	return nil
}

// lowerConfig has mkfs.ext4 make the file that is the disk. All of it is allocated, and noted as written, without
// being written: the image is a new one, in which everything is zero. A file
// that was allocated with fallocate would not do. The file system would note in its journal which parts have been
// written, and one that is shut down may call a sync a success when it could not: the disk would lie.
const lowerConfig = `[fs_types]
disk = {
	inode_ratio = 1048576
	make_hugefiles = true
	hugefiles_dir = /
	hugefiles_name = disk
	hugefiles_digits = 0
	hugefiles_size = %dK
	num_hugefiles = 1
	zero_hugefiles = false
}
`

// NewDisk makes an empty disk of so many bytes and mounts it. It takes no more of the machine's than is
// written. It is unmounted and removed at the end of the test.
func NewDisk(t testing.TB, size int64) *Disk {
	t.Helper()
	dir := t.TempDir()
	d := &Disk{
		Dir: filepath.Join(dir, "disk"), t: t,
		// The machine does not lose its power, so what the lower file system has written is safe without a flush.
		below: volume{image: filepath.Join(dir, "image"), dir: filepath.Join(dir, "below"), options: "barrier=0"},
	}
	d.above = volume{image: filepath.Join(d.below.dir, "disk"), dir: d.Dir}
	config := filepath.Join(dir, "mke2fs.conf")
	room := size + size/64 + 32<<20 // for the lower file system's own
	err := errors.Join(os.WriteFile(config, fmt.Appendf(nil, lowerConfig, size>>10), 0o600),
		os.WriteFile(d.below.image, nil, 0o600), os.Truncate(d.below.image, room), os.Mkdir(d.below.dir, 0o700), os.Mkdir(d.Dir, 0o700))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.remove)
	d.run("env", "MKE2FS_CONFIG="+config, "mkfs.ext4", "-q", "-F", "-m", "0", "-T", "disk", "-J", "size=4",
		"-O", "none,has_journal,extent,extra_isize,filetype", "-E", "nodiscard,lazy_itable_init=0,lazy_journal_init=1", d.below.image)
	d.mount(&d.below)
	// What is not written here is zero already. To have it discarded or zeroed would make holes in the file, and does at its end.
	d.run("mkfs.ext4", "-q", "-F", "-E", "nodiscard,assume_storage_prezeroed=1", d.above.image)
	if _, err := d.above.holes(true); err != nil {
		t.Fatal(err)
	}
	d.mountAbove()
	return d
}

func (d *Disk) run(name string, args ...string) {
	d.t.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		d.t.Fatalf("powercut: %s %v: %v\n%s", name, args, err, out)
	}
}

// attach has a free loop device show a file, until the device is neither open nor mounted.
func attach(image string) (*os.File, error) {
	file, err := os.OpenFile(image, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer file.Close() //nolint:errcheck // the device has it open
	control, err := os.OpenFile(loopControl, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer control.Close() //nolint:errcheck // nothing is written
	for range 10 {        // between finding and taking a device somebody else may take it
		var number int
		if number, err = unix.IoctlRetInt(int(control.Fd()), unix.LOOP_CTL_GET_FREE); err != nil {
			break
		}
		var device *os.File
		if device, err = os.OpenFile(fmt.Sprint("/dev/loop", number), os.O_RDWR, 0); err != nil {
			break
		}
		// Without direct I/O: what is written to the disk must stay in the page cache of what is below.
		err = unix.IoctlLoopConfigure(int(device.Fd()), &unix.LoopConfig{
			Fd: uint32(file.Fd()), Info: unix.LoopInfo64{Flags: unix.LO_FLAGS_AUTOCLEAR},
		})
		if err == nil {
			return device, nil
		}
		err = errors.Join(err, device.Close())
	}
	return nil, fmt.Errorf("powercut: no loop device: %w", err)
}

// holes counts the places of the image that are not allocated, or not written since, and writes zeros there if it is to fill them.
func (v *volume) holes(fill bool) (n int, err error) {
	f, err := os.OpenFile(v.image, os.O_RDWR, 0)
	if err != nil {
		return 0, err
	}
	defer f.Close() //nolint:errcheck // it is synced
	size, err := f.Seek(0, io.SeekEnd)
	for end := int64(0); err == nil && end < size; {
		var hole int64
		if hole, err = f.Seek(end, unix.SEEK_HOLE); err != nil || hole == size {
			break
		}
		if end, err = f.Seek(hole, unix.SEEK_DATA); errors.Is(err, unix.ENXIO) {
			end, err = size, nil // there is none
		}
		if err == nil && fill {
			_, err = f.WriteAt(make([]byte, end-hole), hole)
		}
		n++
	}
	return n, errors.Join(err, f.Sync())
}

// mount attaches the image and mounts it; ext4 replays its journal.
func (v *volume) mount() error {
	device, err := attach(v.image)
	if err != nil {
		return err
	}
	defer device.Close() //nolint:errcheck // what is mounted keeps it open
	if err := unix.Mount(device.Name(), v.dir, "ext4", 0, v.options); err != nil {
		return fmt.Errorf("powercut: mount %s: %w", device.Name(), err)
	}
	v.mounted = true
	return nil
}

// Mount mounts the disk after Unmount.
func (d *Disk) Mount() {
	d.t.Helper()
	d.mount(&d.below)
	d.mountAbove()
}

func (d *Disk) mount(v *volume) {
	d.t.Helper()
	if err := v.mount(); err != nil {
		d.t.Fatal(err)
	}
}

// mountAbove mounts what is on the disk, if the disk is one that tells the truth about its flushes.
func (d *Disk) mountAbove() {
	d.t.Helper()
	holes, err := d.above.holes(false)
	if err != nil || holes > 0 {
		d.t.Fatalf("powercut: the file that is the disk has %d holes (%v)", holes, err)
	}
	d.mount(&d.above)
}

// Cut cuts the power of the disk: nothing that it has not flushed now is kept, and from now on it
// fails every write and flush.
func (d *Disk) Cut() {
	d.t.Helper()
	d.shutDown(d.below.dir)
}

// Spill has the disk write a random half of what is in its cache, in pieces of a page, or larger ones where much was written at
// once: what a disk has kept when it loses its power is not always all that was written before some moment. Kernels before Linux 6.5 do not tell what is in the cache:
// then nothing is spilled.
func (d *Disk) Spill(rng *rand.Rand) {
	d.t.Helper()
	f, err := os.Open(d.above.image)
	if err != nil {
		d.t.Fatal(err)
	}
	defer f.Close() //nolint:errcheck // nothing is written
	st, err := f.Stat()
	if err == nil {
		err = spill(int(f.Fd()), 0, st.Size(), rng)
	}
	if err != nil && !errors.Is(err, unix.ENOSYS) {
		d.t.Fatalf("powercut: spill: %v", err)
	}
}

// spill looks for what is to be written by halves.
func spill(fd int, off, n int64, rng *rand.Rand) error {
	var cached unix.Cachestat_t
	if err := unix.Cachestat(uint(fd), &unix.CachestatRange{Off: uint64(off), Len: uint64(n)}, &cached, 0); err != nil || cached.Dirty == 0 {
		return err
	}
	if n > int64(os.Getpagesize()) {
		return errors.Join(spill(fd, off, n/2, rng), spill(fd, off+n/2, n-n/2, rng))
	}
	if rng.IntN(2) == 0 {
		return nil
	}
	return unix.SyncFileRange(fd, off, n, unix.SYNC_FILE_RANGE_WRITE)
}

// CutFS stops the file system above a disk that keeps what was written to it: nothing that is not on the disk now gets there,
// and from now on every write and sync fails. A file system is less truthful then than a disk without power.
func (d *Disk) CutFS() {
	d.t.Helper()
	d.shutDown(d.Dir)
}

func (d *Disk) shutDown(dir string) {
	d.t.Helper()
	f, err := os.Open(dir)
	if err != nil {
		d.t.Fatal(err)
	}
	defer f.Close() //nolint:errcheck // a directory
	flag := uint32(shutdownNoFlush)
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), fsIocShutdown, uintptr(unsafe.Pointer(&flag))); errno != 0 {
		d.t.Fatalf("powercut: shut down %s: %v", dir, errno)
	}
}

// Unmount unmounts the disk, which nobody must use any more. What was not
// synced before a cut is gone then.
func (d *Disk) Unmount() {
	d.t.Helper()
	if err := errors.Join(d.above.unmount(), d.below.unmount()); err != nil {
		d.t.Fatal(err)
	}
}

func (v *volume) unmount() error {
	deadline := time.Now().Add(unmountPatience)
	for v.mounted {
		err := unix.Unmount(v.dir, 0)
		switch {
		case err == nil:
			v.mounted = false
		case err != unix.EBUSY || time.Now().After(deadline):
			return fmt.Errorf("powercut: unmount %s: %w", v.dir, err)
		default:
			time.Sleep(unmountRetryWait) // the kernel has no way to wait for it
		}
	}
	return nil
}

// remove undoes what NewDisk did, as far as it came.
func (d *Disk) remove() {
	for _, v := range []*volume{&d.above, &d.below} {
		if err := v.unmount(); err != nil {
			d.t.Error(errors.Join(err, unix.Unmount(v.dir, unix.MNT_DETACH)))
		}
	}
}
