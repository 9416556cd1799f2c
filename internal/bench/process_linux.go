package bench

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// clockTick is the unit of /proc/PID/stat; USER_HZ is 100 wherever Linux runs.
const clockTick = 10 * time.Millisecond

func readUsage(pid int) (usage, error) {
	var u usage
	dir := "/proc/" + strconv.Itoa(pid)
	stat, err := os.ReadFile(dir + "/stat")
	if err != nil {
		return u, fmt.Errorf("process %d: %w", pid, err)
	}
	// The name, in parentheses, may hold anything; utime and stime are fields 14 and 15.
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	const user, system = 14 - 3, 15 - 3
	if len(fields) <= system {
		return u, fmt.Errorf("%s/stat: %q is not what proc(5) says", dir, stat)
	}
	for _, field := range fields[user : system+1] {
		ticks, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			return u, fmt.Errorf("%s/stat: %w", dir, err)
		}
		u.cpu += time.Duration(ticks) * clockTick
	}
	u.memory, u.peak, err = readMemory(dir + "/status")
	return u, err
}

func readMemory(name string) (now, peak int64, err error) {
	if now, err = readField(name, "VmRSS:"); err != nil {
		return 0, 0, err
	}
	peak, err = readField(name, "VmHWM:")
	return now << 10, peak << 10, err
}

// readField reads the number after a label at the beginning of a line.
func readField(name, label string) (int64, error) {
	data, err := os.ReadFile(name)
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(data)) {
		if rest, ok := strings.CutPrefix(line, label); ok {
			return strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
		}
	}
	return 0, fmt.Errorf("%s: no %s", name, label)
}

// sectorSize is the unit of /sys/dev/block/*/stat, whatever the device's own is.
const sectorSize = 512

// diskWritten returns how many bytes were written to the device that holds a
// directory, by anybody. (What /proc/PID/io says of a process counts whole folios of the
// page cache, which may be a thousand times what goes to the disk.)
func diskWritten(dir string) (int64, error) {
	if dir == "" {
		return 0, nil
	}
	var st unix.Stat_t
	if err := unix.Stat(dir, &st); err != nil {
		return 0, fmt.Errorf("%s: %w", dir, err)
	}
	name := fmt.Sprintf("/sys/dev/block/%d:%d/stat", unix.Major(st.Dev), unix.Minor(st.Dev))
	data, err := os.ReadFile(name)
	if err != nil {
		return 0, fmt.Errorf("%s is not on a block device of its own: %w", dir, err)
	}
	fields := strings.Fields(string(data))
	const written = 6
	if len(fields) <= written {
		return 0, fmt.Errorf("%s: %q is too short", name, data)
	}
	sectors, err := strconv.ParseInt(fields[written], 10, 64)
	return sectors * sectorSize, err
}
