//go:build !linux

package cli

import "syscall"

func devAttributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
