package powercut

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
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
	unmountPatience  = time.Minute
	unmountRetryWait = 5 * time.Millisecond
)

// Disk is an ext4 file system in a file of its own, whose power can be cut.
type Disk struct {
	Dir string // where it is mounted

	t       testing.TB
	loop    string // the loop device, "" when there is none
	mounted bool
}

// Unavailable tells why there can be no Disk on this machine, or returns nil.
func Unavailable() error {
	if os.Geteuid() != 0 {
		return errors.New("a power cut needs root, to mount a file system and shut it down")
	}
	for _, tool := range []string{"mkfs.ext4", "losetup"} {
		if _, err := exec.LookPath(tool); err != nil {
			return fmt.Errorf("a power cut needs %s: %w", tool, err)
		}
	}
	if out, err := exec.Command("losetup", "-f").CombinedOutput(); err != nil {
		return fmt.Errorf("a power cut needs loop devices: %w: %s", err, out)
	}
	return nil
}

// NewDisk makes an empty disk of so many bytes and mounts it. It is unmounted
// and removed at the end of the test.
func NewDisk(t testing.TB, size int64) *Disk {
	t.Helper()
	dir := t.TempDir()
	image := filepath.Join(dir, "image")
	d := &Disk{Dir: filepath.Join(dir, "disk"), t: t}
	if err := errors.Join(os.WriteFile(image, nil, 0o600), os.Truncate(image, size), os.Mkdir(d.Dir, 0o700)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.remove)
	d.run("mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=0,lazy_journal_init=0", image)
	if err := d.attach(image); err != nil {
		t.Fatal(err)
	}
	d.Mount()
	return d
}

// attach finds a loop device. Between finding and taking it somebody else may take it.
func (d *Disk) attach(image string) error {
	const attempts = 10
	var last error
	for range attempts {
		out, err := exec.Command("losetup", "--find", "--show", image).CombinedOutput()
		if err == nil {
			d.loop = strings.TrimSpace(string(out))
			return nil
		}
		last = fmt.Errorf("powercut: losetup: %w: %s", err, out)
	}
	return last
}

func (d *Disk) run(name string, args ...string) string {
	d.t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		d.t.Fatalf("powercut: %s %v: %v\n%s", name, args, err, out)
	}
	return string(out)
}

// Mount mounts the disk; ext4 replays its journal.
func (d *Disk) Mount() {
	d.t.Helper()
	if err := unix.Mount(d.loop, d.Dir, "ext4", 0, ""); err != nil {
		d.t.Fatalf("powercut: mount %s: %v", d.loop, err)
	}
	d.mounted = true
}

// Cut stops the file system: nothing that is not on the disk now gets there,
// and from now on every write and sync fails.
func (d *Disk) Cut() {
	d.t.Helper()
	f, err := os.Open(d.Dir)
	if err != nil {
		d.t.Fatal(err)
	}
	defer f.Close() //nolint:errcheck // a directory
	flag := uint32(shutdownNoFlush)
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), fsIocShutdown, uintptr(unsafe.Pointer(&flag))); errno != 0 {
		d.t.Fatalf("powercut: shut down %s: %v", d.Dir, errno)
	}
}

// Unmount unmounts the disk, which nobody must use any more. What was not
// synced before a Cut is gone then.
func (d *Disk) Unmount() {
	d.t.Helper()
	if err := d.unmount(); err != nil {
		d.t.Fatal(err)
	}
}

func (d *Disk) unmount() error {
	if !d.mounted {
		return nil
	}
	deadline := time.Now().Add(unmountPatience)
	for {
		err := unix.Unmount(d.Dir, 0)
		if err == nil {
			d.mounted = false
			return nil
		}
		if err != unix.EBUSY || time.Now().After(deadline) {
			return fmt.Errorf("powercut: unmount %s: %w", d.Dir, err)
		}
		time.Sleep(unmountRetryWait) // the kernel has no way to wait for it
	}
}

// remove undoes what NewDisk did, as far as it came.
func (d *Disk) remove() {
	if err := d.unmount(); err != nil {
		d.t.Error(errors.Join(err, unix.Unmount(d.Dir, unix.MNT_DETACH)))
	}
	if d.loop != "" {
		if out, err := exec.Command("losetup", "--detach", d.loop).CombinedOutput(); err != nil {
			d.t.Errorf("powercut: detach %s: %v: %s", d.loop, err, out)
		}
	}
}
