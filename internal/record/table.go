package record

// Table is an AMQP field table.
type Table map[string]any
