package vfs

// Sizes in bytes. A disk writes whole sectors and nothing more at once; pages
// are how [Mem] holds contents and counts allocated space.
const (
	sectorSize = 512
	pageSize   = 4096
)

// blob is the contents of a file: sparse, and cheap to clone, because clones
// share their pages until one of them writes. Bytes beyond size are zero.
type blob struct {
	size  int64
	pages []*page // nil: a hole, or beyond the end of the slice
	owner *owner
}

// page belongs to the blob with the same owner; every other blob that has it
// must copy it before it writes.
type page struct {
	owner *owner
	data  [pageSize]byte
}

// owner has a size, so that two of them never have the same address.
type owner struct{ _ byte }

// clone returns a blob of the same contents. Neither of the two owns a page
// afterwards.
func (b *blob) clone() blob {
	b.owner = new(owner)
	return blob{size: b.size, pages: append([]*page(nil), b.pages...), owner: new(owner)}
}

func (b *blob) readAt(p []byte, off int64) int {
	if off >= b.size {
		return 0
	}
	p = p[:min(int64(len(p)), b.size-off)]
	for n := 0; n < len(p); {
		i, in := (off+int64(n))/pageSize, (off+int64(n))%pageSize
		part := p[n:min(len(p), n+pageSize-int(in))]
		if pg := b.page(i); pg != nil {
			copy(part, pg.data[in:])
		} else {
			clear(part)
		}
		n += len(part)
	}
	return len(p)
}

// put writes p without changing the size: where that goes beyond it, the
// caller grows it, or cuts the bytes off.
func (b *blob) put(p []byte, off int64) {
	for len(p) > 0 {
		in := off % pageSize
		n := copy(b.own(off / pageSize).data[in:], p)
		p, off = p[n:], off+int64(n)
	}
}

// cut sets the size; what lies beyond it becomes zero.
func (b *blob) cut(size int64) {
	b.size = size
	whole := (size + pageSize - 1) / pageSize
	if int64(len(b.pages)) > whole {
		clear(b.pages[whole:])
		b.pages = b.pages[:whole]
	}
	if in := size % pageSize; in != 0 && b.page(whole-1) != nil {
		clear(b.own(whole - 1).data[in:])
	}
}

func (b *blob) page(i int64) *page {
	if i < int64(len(b.pages)) {
		return b.pages[i]
	}
	return nil
}

// own returns page i for writing.
func (b *blob) own(i int64) *page {
	for int64(len(b.pages)) <= i {
		b.pages = append(b.pages, nil)
	}
	pg := b.pages[i]
	switch {
	case pg == nil:
		pg = &page{owner: b.owner}
	case pg.owner != b.owner:
		pg = &page{owner: b.owner, data: pg.data}
	}
	b.pages[i] = pg
	return pg
}

// allocated counts the pages that are not holes.
func (b *blob) allocated() (n int64) {
	for _, pg := range b.pages {
		if pg != nil {
			n++
		}
	}
	return n
}
