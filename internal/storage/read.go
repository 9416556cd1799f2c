package storage

import "waybill/internal/record"

func (l *Log) readChunk(r *result, q *query, c *chunk, after, limit record.Index, disk bool) error {
	return ErrCold
}
