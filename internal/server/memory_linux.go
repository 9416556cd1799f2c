package server

import (
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// memoryOfMachine is the memory of the machine, or of the process's container where that is less; 0: not known.
func memoryOfMachine() uint64 {
	var info unix.Sysinfo_t
	if unix.Sysinfo(&info) != nil {
		return 0
	}
	total := info.Totalram * uint64(info.Unit)
	text, err := os.ReadFile("/sys/fs/cgroup/memory.max") // of a container, whose own group is the root there
	if err != nil {
		return total
	}
	if limit, err := strconv.ParseUint(strings.TrimSpace(string(text)), 10, 64); err == nil {
		return min(total, limit)
	}
	return total // "max"
}
