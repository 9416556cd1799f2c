package main

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// machine is where it was measured.
type machine struct {
	CPU    string `json:"cpu"`
	Cores  int    `json:"cores"`
	Kernel string `json:"kernel"`
	Load   string `json:"load"` // average of the last minute, before the row
}

func thisMachine() machine {
	m := machine{CPU: runtime.GOARCH, Cores: runtime.NumCPU()}
	if data, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for line := range strings.Lines(string(data)) {
			if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
				m.CPU = strings.TrimSpace(value)
			}
		}
	}
	if data, err := os.ReadFile("/proc/sys/kernel/osrelease"); err == nil {
		m.Kernel = strings.TrimSpace(string(data))
	}
	if data, err := os.ReadFile("/proc/loadavg"); err == nil {
		m.Load, _, _ = strings.Cut(string(data), " ")
	}
	return m
}

// diskProbe is what the disk itself does, just before a row: one WriteAt and one
// fdatasync after the other, into a file that is written already.
type diskProbe struct {
	P50      float64 `json:"fsync_p50_ms"` // of 1 KiB
	P99      float64 `json:"fsync_p99_ms"`
	PerSec   float64 `json:"fsyncs_per_second"`
	GroupMiB float64 `json:"group_commit_mib_per_second"` // of 256 KiB each
}

// Sizes of the probe.
const (
	probeFile  = 64 << 20
	probeTime  = time.Second
	probeSmall = 1 << 10
	probeLarge = 256 << 10
)

// probe is a file that is written as a whole, to be written over.
type probe struct{ *os.File }

func probeInto(dir string) (probe, error) {
	f, err := os.Create(filepath.Join(dir, "probe"))
	if err != nil {
		return probe{}, err
	}
	p := probe{f}
	if _, err = f.Write(make([]byte, probeFile)); err == nil {
		err = f.Sync()
	}
	if err != nil {
		p.remove()
	}
	return p, err
}

func (p probe) remove() {
	_ = p.Close()           // nothing of it is kept
	_ = os.Remove(p.Name()) // the directory goes, too
}

func probeDisk(dir string) (diskProbe, error) {
	p, err := probeInto(dir)
	if err != nil {
		return diskProbe{}, err
	}
	defer p.remove()
	f, name := p.File, p.Name()
	small, err := syncs(f, probeSmall)
	if err != nil {
		return diskProbe{}, fmt.Errorf("%s: %w", name, err)
	}
	large, err := syncs(f, probeLarge)
	if err != nil {
		return diskProbe{}, fmt.Errorf("%s: %w", name, err)
	}
	ms := func(d time.Duration) float64 { return float64(d.Microseconds()) / 1e3 }
	return diskProbe{
		P50: ms(small[len(small)/2]), P99: ms(small[len(small)*99/100]),
		PerSec:   float64(len(small)) / probeTime.Seconds(),
		GroupMiB: float64(len(large)) * probeLarge / (1 << 20) / probeTime.Seconds(),
	}, nil
}

// syncs writes and syncs for a while and returns how long each took, sorted.
func syncs(f *os.File, size int) ([]time.Duration, error) {
	buf := make([]byte, size)
	for i := range buf {
		buf[i] = byte(i)
	}
	var took []time.Duration
	end := time.Now().Add(probeTime)
	for at := int64(0); ; at += int64(size) {
		if at+int64(size) > probeFile {
			at = 0
		}
		began := time.Now()
		if began.After(end) && len(took) > 0 {
			slices.Sort(took)
			return took, nil
		}
		if _, err := f.WriteAt(buf, at); err != nil {
			return nil, err
		}
		if err := unix.Fdatasync(int(f.Fd())); err != nil {
			return nil, err
		}
		took = append(took, time.Since(began))
	}
}
