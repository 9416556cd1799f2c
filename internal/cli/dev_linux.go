package cli

import "syscall"

// devAttributes: the node also ends when dev ends without stopping it.
func devAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
}
