package bench

import (
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

// preciseSleep sleeps in the kernel: the runtime's timers wait in epoll, whose unit is a
// millisecond, and half a millisecond of the tool's own would be charged
// to the broker.
func preciseSleep(d time.Duration) {
	ts := unix.NsecToTimespec(d.Nanoseconds())
	_ = unix.Nanosleep(&ts, nil) // interrupted: it was shorter, and the caller looks at the clock
}

// keepThread ties a producer with a schedule to a thread whose timers are not
// rounded up.
func keepThread() {
	runtime.LockOSThread()
	_ = unix.Prctl(unix.PR_SET_TIMERSLACK, 1, 0, 0, 0) // without it: 50 µs more
}
