package server

import (
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"path"
	"strings"

	"waybill/internal/vfs"
)

// The file CLUSTER says which node of which cluster a data directory is. It is
// one line of JSON, and one with the CRC-32C of the first:
//
//	{"format":1,"cluster":"…","node":2,"replica":2,"store":"…","founders":[…],"members":[…]}
//	crc 01234567
//
// It is written before raft starts, and never changed after that: what this
// directory has promised to others it has promised as this node.
const (
	clusterFileName   = "CLUSTER"
	clusterFileFormat = 1
	clusterFileMax    = 1 << 20
	clusterFileSum    = "crc %08x\n"
)

// member is a node as others know it.
type member struct {
	Node    uint64 `json:"node"`
	Replica uint64 `json:"replica"`
	Store   string `json:"store"`
	Addr    string `json:"addr"`
}

// clusterFile is what the file holds.
type clusterFile struct {
	Format   int      `json:"format"`
	Cluster  string   `json:"cluster"`
	Node     uint64   `json:"node"`
	Replica  uint64   `json:"replica"`
	Store    string   `json:"store"` // the data directory that it was written for
	Founders []member `json:"founders"`
	Members  []member `json:"members,omitempty"` // when this node joined; the catalog tells who they are now
}

// readClusterFile returns nil when there is none.
func readClusterFile(f vfs.FS, dir string) (*clusterFile, error) {
	name := path.Join(dir, clusterFileName)
	text, err := readSmall(f, name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	line, sum, ok := strings.Cut(text, "\n")
	if !ok || sum != clusterSum(line+"\n") {
		return nil, fmt.Errorf("%s is damaged: %w. If the other nodes are well, replace it (waybill cluster replace) and give it an empty data directory", name, errClusterFile)
	}
	var c clusterFile
	if err := json.Unmarshal([]byte(line), &c); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if c.Format != clusterFileFormat {
		return nil, fmt.Errorf("%s has format %d, this program knows %d", name, c.Format, clusterFileFormat)
	}
	return &c, nil
}

func clusterSum(line string) string {
	return fmt.Sprintf(clusterFileSum, crc32.Checksum([]byte(line), crc32.MakeTable(crc32.Castagnoli)))
}

func readSmall(f vfs.FS, name string) (string, error) {
	file, err := f.OpenRead(name)
	if err != nil {
		return "", err
	}
	defer file.Close() //nolint:errcheck // nothing was written
	size, err := file.Size()
	if err != nil {
		return "", err
	}
	if size > clusterFileMax {
		return "", fmt.Errorf("%s has %d bytes, which it never should", name, size)
	}
	b := make([]byte, size)
	if _, err := file.ReadAt(b, 0); size > 0 && err != nil {
		return "", fmt.Errorf("%s: %w", name, err)
	}
	return string(b), nil
}

// write makes the file durable. Nobody may be told of what it says before that.
func (c *clusterFile) write(f vfs.FS, dir string) error {
	c.Format = clusterFileFormat
	line, err := json.Marshal(c)
	if err != nil {
		return err
	}
	text := string(line) + "\n"
	text += clusterSum(text)
	name := path.Join(dir, clusterFileName)
	next := name + ".new"
	if err := f.Remove(next); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	file, err := f.Create(next)
	if err != nil {
		return err
	}
	_, err = file.WriteAt([]byte(text), 0)
	if err == nil {
		err = file.Sync()
	}
	if err = errors.Join(err, file.Close()); err != nil {
		return err
	}
	if err := f.Rename(next, name); err != nil {
		return err
	}
	return f.SyncDir(dir)
}
