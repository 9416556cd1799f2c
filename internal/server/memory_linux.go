package server

import (
	"os"
	"path"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// memoryOfMachine is the memory of the machine, or of the process's control group where that is less; 0: not known.
func memoryOfMachine() uint64 {
	var info unix.Sysinfo_t
	if unix.Sysinfo(&info) != nil {
		return 0
	}
	total := info.Totalram * uint64(info.Unit)
	group, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return total
	}
	_, name, ok := strings.Cut(string(group), "0::") // version 2; in a container its own group is the root
	if !ok {
		return total
	}
	name, _, _ = strings.Cut(name, "\n")
	for dir := path.Clean("/" + name); ; dir = path.Dir(dir) {
		text, err := os.ReadFile(path.Join("/sys/fs/cgroup", dir, "memory.max"))
		if err == nil {
			if limit, err := strconv.ParseUint(strings.TrimSpace(string(text)), 10, 64); err == nil { // else "max"
				total = min(total, limit)
			}
		}
		if dir == "/" {
			return total
		}
	}
}
