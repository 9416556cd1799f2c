package clustertest

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
)

// peerInode returns the inode of the socket that is bound to local and connected to remote.
func peerInode(local, remote *net.TCPAddr) (string, error) {
	data, err := os.ReadFile("/proc/net/tcp")
	if err != nil {
		return "", err
	}
	want := procAddr(local) + " " + procAddr(remote) + " "
	for line := range strings.Lines(string(data)) {
		// "  12: 0100007F:1F90 0100007F:C3D2 01 00000000:00000000 00:00000000 00000000 0 0 INODE …"
		_, rest, ok := strings.Cut(line, ": ")
		if !ok || !strings.HasPrefix(rest, want) {
			continue
		}
		if fields := strings.Fields(rest); len(fields) > 8 {
			return fields[8], nil
		}
	}
	return "", fmt.Errorf("no socket from %v to %v", local, remote)
}

// procAddr is an IPv4 address as /proc/net/tcp has it.
func procAddr(a *net.TCPAddr) string {
	ip := a.IP.To4()
	return fmt.Sprintf("%02X%02X%02X%02X:%04X", ip[3], ip[2], ip[1], ip[0], a.Port)
}

// holdsSocket reports whether a process has the socket open.
func holdsSocket(pid int, inode string) bool {
	fds, _ := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid)) // the pattern is good
	for _, fd := range fds {
		if target, err := os.Readlink(fd); err == nil && target == "socket:["+inode+"]" {
			return true
		}
	}
	return false
}
