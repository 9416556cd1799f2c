package server

import (
	"os"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

// timerSlack is by how much the kernel may be late with a timer of a node, so
// that one wake-up does for several.
//
// The runtime has a thread that looks after the others every 20 µs, as long as
// any of them runs or waits for a sync of the disk. At a low rate that was half of all
// context switches, and a quarter of what a message cost. The timers of a
// node are for a millisecond or more. Where much is done that thread has little
// to say: the rates are the same.
const (
	timerSlack   = 500_000 // ns
	defaultSlack = 50_000
)

// CoarseTimers lets the kernel be late with the timers of this process. A thread
// can set that only for itself and the threads that it makes, and the runtime has
// made some before main begins. But it outlasts exec: so the process becomes the same
// program once more. Whoever started it with another slack than the default has decided.
// It is called before anything else is done; where it cannot be had, nothing happens.
func CoarseTimers() {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	slack, err := unix.PrctlRetInt(unix.PR_GET_TIMERSLACK, 0, 0, 0, 0)
	if err != nil || slack != defaultSlack {
		return
	}
	program, err := os.Executable()
	if err != nil || unix.Prctl(unix.PR_SET_TIMERSLACK, timerSlack, 0, 0, 0) != nil {
		return
	}
	_ = syscall.Exec(program, os.Args, os.Environ()) // returns only when it failed
	_ = unix.Prctl(unix.PR_SET_TIMERSLACK, defaultSlack, 0, 0, 0)
}
