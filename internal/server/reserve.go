package server

import (
	"fmt"
	"strconv"
	"strings"
)

const (
	reserveFloor   = 2 << 30 // bytes of the default reserve, at least
	reservePercent = 5       // of the disk, the default reserve at least
	reserveShare   = 5       // the default reserve is at most 1/reserveShare of the disk
)

// Reserve is the free disk space below which nothing may be published, so that
// acknowledging, committing and deleting still find room: a share of the disk,
// a number of bytes, or the default when both are zero.
type Reserve struct {
	Percent float64
	Bytes   uint64
}

// Of returns the reserve in bytes of a disk of that size.
//
// The default is 5 % of the disk and not below 2 GiB; but never more than a
// fifth of the disk, since a fixed floor would make a small disk low for ever:
// the 2 GiB come from the size of what is in flight (WAL files, segments that
// are being rewritten), and that shrinks with the disk, too (see walFileSize).
func (r Reserve) Of(disk uint64) uint64 {
	switch {
	case r.Bytes > 0:
		return r.Bytes
	case r.Percent > 0:
		return uint64(float64(disk) / 100 * r.Percent)
	default:
		return min(max(disk/100*reservePercent, reserveFloor), disk/reserveShare)
	}
}

func (r Reserve) String() string {
	switch {
	case r.Bytes > 0:
		return formatSize(int64(r.Bytes))
	case r.Percent > 0:
		return strconv.FormatFloat(r.Percent, 'f', -1, 64) + "%"
	default:
		return ""
	}
}

// parseReserve reads "5%", "2GiB" or a number of bytes.
func parseReserve(text string) (Reserve, error) {
	if share, ok := strings.CutSuffix(text, "%"); ok {
		p, err := strconv.ParseFloat(strings.TrimSpace(share), 64)
		if err != nil || !(p > 0 && p <= 90) {
			return Reserve{}, fmt.Errorf("%q is not a share from above 0%% to 90%%", text)
		}
		return Reserve{Percent: p}, nil
	}
	n, err := parseSize(text)
	if err != nil {
		return Reserve{}, err
	}
	if n <= 0 {
		return Reserve{}, fmt.Errorf("%q must be above 0", text)
	}
	return Reserve{Bytes: uint64(n)}, nil
}

// walFileSize is the size of a WAL file when none is configured: 128 MiB, but
// at most a sixty-fourth of the disk, in steps of powers of two, and never
// below 1 MiB. A node keeps a few of those files at all times.
func walFileSize(disk uint64) int64 {
	size := int64(128 << 20)
	for size > 1<<20 && uint64(size) > disk/64 {
		size /= 2
	}
	return size
}
