package bench

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"time"
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
	if u.memory, u.peak, err = readMemory(dir + "/status"); err != nil {
		return u, err
	}
	u.written, err = readField(dir+"/io", "write_bytes:")
	if errors.Is(err, fs.ErrPermission) { // another user's process
		err = nil
	}
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
