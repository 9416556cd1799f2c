package brokertest

import "syscall"

// dieWithParent ends the broker when the test process ends without its
// cleanups, by a panic or a timeout.
func dieWithParent() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}
