package bench

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"runtime"
	"testing"
)

// TestHelpersMayEnd: a process of the broker that ends while it is measured keeps what it had used; that all have
// ended, or that one was never there, is an error.
func TestHelpersMayEnd(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("processes are read from /proc")
	}
	helper := exec.Command("cat")
	stdin, err := helper.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := helper.Start(); err != nil {
		t.Fatal(err)
	}
	pid := helper.Process.Pid
	before, err := usagesOf([]int{pid, os.Getpid()}, nil)
	if err != nil || before[pid].memory == 0 {
		t.Fatal(before, err)
	}
	_ = stdin.Close()
	if err := helper.Wait(); err != nil {
		t.Fatal(err)
	}
	after, err := usagesOf([]int{pid, os.Getpid()}, before)
	if err != nil || after[pid].cpu != before[pid].cpu || after[pid].memory != 0 {
		t.Errorf("%v after %v, %v", after, before, err)
	}
	if _, err := usagesOf([]int{pid}, before); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the only process has ended: %v", err)
	}
	if _, err := usagesOf([]int{pid, os.Getpid()}, nil); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a process that was never there: %v", err)
	}
}
