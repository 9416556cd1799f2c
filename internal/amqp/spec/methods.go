// Code generated from the AMQP 0-9-1 specification by gen. DO NOT EDIT.

package spec

import (
	"encoding/binary"

	"waybill/internal/record"
)

// Frame types and marks.
const (
	FrameMethod    = 1
	FrameHeader    = 2
	FrameBody      = 3
	FrameHeartbeat = 8
	FrameMinSize   = 4096
	FrameEnd       = 206
)

// Reply codes.
const (
	ReplySuccess       = 200
	ContentTooLarge    = 311
	NoRoute            = 312
	NoConsumers        = 313
	ConnectionForced   = 320
	InvalidPath        = 402
	AccessRefused      = 403
	NotFound           = 404
	ResourceLocked     = 405
	PreconditionFailed = 406
	FrameError         = 501
	SyntaxError        = 502
	CommandInvalid     = 503
	ChannelError       = 504
	UnexpectedFrame    = 505
	ResourceError      = 506
	NotAllowed         = 530
	NotImplemented     = 540
	InternalError      = 541
)

// ReplyName returns the name that begins a reply text, as NOT_FOUND.
func ReplyName(code uint16) string {
	switch code {
	case ReplySuccess:
		return "REPLY_SUCCESS"
	case ContentTooLarge:
		return "CONTENT_TOO_LARGE"
	case NoRoute:
		return "NO_ROUTE"
	case NoConsumers:
		return "NO_CONSUMERS"
	case ConnectionForced:
		return "CONNECTION_FORCED"
	case InvalidPath:
		return "INVALID_PATH"
	case AccessRefused:
		return "ACCESS_REFUSED"
	case NotFound:
		return "NOT_FOUND"
	case ResourceLocked:
		return "RESOURCE_LOCKED"
	case PreconditionFailed:
		return "PRECONDITION_FAILED"
	case FrameError:
		return "FRAME_ERROR"
	case SyntaxError:
		return "SYNTAX_ERROR"
	case CommandInvalid:
		return "COMMAND_INVALID"
	case ChannelError:
		return "CHANNEL_ERROR"
	case UnexpectedFrame:
		return "UNEXPECTED_FRAME"
	case ResourceError:
		return "RESOURCE_ERROR"
	case NotAllowed:
		return "NOT_ALLOWED"
	case NotImplemented:
		return "NOT_IMPLEMENTED"
	case InternalError:
		return "INTERNAL_ERROR"
	}
	return "UNKNOWN"
}

// IsHardError reports whether the code ends the connection and not only the channel.
func IsHardError(code uint16) bool {
	switch code {
	case ConnectionForced, InvalidPath, FrameError, SyntaxError, CommandInvalid, ChannelError, UnexpectedFrame, ResourceError, NotAllowed, NotImplemented, InternalError:
		return true
	}
	return false
}

// Method ids.
const (
	ConnectionStartID          ID = 10<<16 | 10
	ConnectionStartOKID        ID = 10<<16 | 11
	ConnectionSecureID         ID = 10<<16 | 20
	ConnectionSecureOKID       ID = 10<<16 | 21
	ConnectionTuneID           ID = 10<<16 | 30
	ConnectionTuneOKID         ID = 10<<16 | 31
	ConnectionOpenID           ID = 10<<16 | 40
	ConnectionOpenOKID         ID = 10<<16 | 41
	ConnectionCloseID          ID = 10<<16 | 50
	ConnectionCloseOKID        ID = 10<<16 | 51
	ConnectionBlockedID        ID = 10<<16 | 60
	ConnectionUnblockedID      ID = 10<<16 | 61
	ConnectionUpdateSecretID   ID = 10<<16 | 70
	ConnectionUpdateSecretOKID ID = 10<<16 | 71
	ChannelOpenID              ID = 20<<16 | 10
	ChannelOpenOKID            ID = 20<<16 | 11
	ChannelFlowID              ID = 20<<16 | 20
	ChannelFlowOKID            ID = 20<<16 | 21
	ChannelCloseID             ID = 20<<16 | 40
	ChannelCloseOKID           ID = 20<<16 | 41
	ExchangeDeclareID          ID = 40<<16 | 10
	ExchangeDeclareOKID        ID = 40<<16 | 11
	ExchangeDeleteID           ID = 40<<16 | 20
	ExchangeDeleteOKID         ID = 40<<16 | 21
	ExchangeBindID             ID = 40<<16 | 30
	ExchangeBindOKID           ID = 40<<16 | 31
	ExchangeUnbindID           ID = 40<<16 | 40
	ExchangeUnbindOKID         ID = 40<<16 | 51
	QueueDeclareID             ID = 50<<16 | 10
	QueueDeclareOKID           ID = 50<<16 | 11
	QueueBindID                ID = 50<<16 | 20
	QueueBindOKID              ID = 50<<16 | 21
	QueueUnbindID              ID = 50<<16 | 50
	QueueUnbindOKID            ID = 50<<16 | 51
	QueuePurgeID               ID = 50<<16 | 30
	QueuePurgeOKID             ID = 50<<16 | 31
	QueueDeleteID              ID = 50<<16 | 40
	QueueDeleteOKID            ID = 50<<16 | 41
	BasicQosID                 ID = 60<<16 | 10
	BasicQosOKID               ID = 60<<16 | 11
	BasicConsumeID             ID = 60<<16 | 20
	BasicConsumeOKID           ID = 60<<16 | 21
	BasicCancelID              ID = 60<<16 | 30
	BasicCancelOKID            ID = 60<<16 | 31
	BasicPublishID             ID = 60<<16 | 40
	BasicReturnID              ID = 60<<16 | 50
	BasicDeliverID             ID = 60<<16 | 60
	BasicGetID                 ID = 60<<16 | 70
	BasicGetOKID               ID = 60<<16 | 71
	BasicGetEmptyID            ID = 60<<16 | 72
	BasicAckID                 ID = 60<<16 | 80
	BasicRejectID              ID = 60<<16 | 90
	BasicRecoverAsyncID        ID = 60<<16 | 100
	BasicRecoverID             ID = 60<<16 | 110
	BasicRecoverOKID           ID = 60<<16 | 111
	BasicNackID                ID = 60<<16 | 120
	TxSelectID                 ID = 90<<16 | 10
	TxSelectOKID               ID = 90<<16 | 11
	TxCommitID                 ID = 90<<16 | 20
	TxCommitOKID               ID = 90<<16 | 21
	TxRollbackID               ID = 90<<16 | 30
	TxRollbackOKID             ID = 90<<16 | 31
	ConfirmSelectID            ID = 85<<16 | 10
	ConfirmSelectOKID          ID = 85<<16 | 11
	AccessRequestID            ID = 30<<16 | 10
	AccessRequestOKID          ID = 30<<16 | 11
)

// String returns the method's name, as basic.publish.
func (id ID) String() string {
	switch id {
	case ConnectionStartID:
		return "connection.start"
	case ConnectionStartOKID:
		return "connection.start-ok"
	case ConnectionSecureID:
		return "connection.secure"
	case ConnectionSecureOKID:
		return "connection.secure-ok"
	case ConnectionTuneID:
		return "connection.tune"
	case ConnectionTuneOKID:
		return "connection.tune-ok"
	case ConnectionOpenID:
		return "connection.open"
	case ConnectionOpenOKID:
		return "connection.open-ok"
	case ConnectionCloseID:
		return "connection.close"
	case ConnectionCloseOKID:
		return "connection.close-ok"
	case ConnectionBlockedID:
		return "connection.blocked"
	case ConnectionUnblockedID:
		return "connection.unblocked"
	case ConnectionUpdateSecretID:
		return "connection.update-secret"
	case ConnectionUpdateSecretOKID:
		return "connection.update-secret-ok"
	case ChannelOpenID:
		return "channel.open"
	case ChannelOpenOKID:
		return "channel.open-ok"
	case ChannelFlowID:
		return "channel.flow"
	case ChannelFlowOKID:
		return "channel.flow-ok"
	case ChannelCloseID:
		return "channel.close"
	case ChannelCloseOKID:
		return "channel.close-ok"
	case ExchangeDeclareID:
		return "exchange.declare"
	case ExchangeDeclareOKID:
		return "exchange.declare-ok"
	case ExchangeDeleteID:
		return "exchange.delete"
	case ExchangeDeleteOKID:
		return "exchange.delete-ok"
	case ExchangeBindID:
		return "exchange.bind"
	case ExchangeBindOKID:
		return "exchange.bind-ok"
	case ExchangeUnbindID:
		return "exchange.unbind"
	case ExchangeUnbindOKID:
		return "exchange.unbind-ok"
	case QueueDeclareID:
		return "queue.declare"
	case QueueDeclareOKID:
		return "queue.declare-ok"
	case QueueBindID:
		return "queue.bind"
	case QueueBindOKID:
		return "queue.bind-ok"
	case QueueUnbindID:
		return "queue.unbind"
	case QueueUnbindOKID:
		return "queue.unbind-ok"
	case QueuePurgeID:
		return "queue.purge"
	case QueuePurgeOKID:
		return "queue.purge-ok"
	case QueueDeleteID:
		return "queue.delete"
	case QueueDeleteOKID:
		return "queue.delete-ok"
	case BasicQosID:
		return "basic.qos"
	case BasicQosOKID:
		return "basic.qos-ok"
	case BasicConsumeID:
		return "basic.consume"
	case BasicConsumeOKID:
		return "basic.consume-ok"
	case BasicCancelID:
		return "basic.cancel"
	case BasicCancelOKID:
		return "basic.cancel-ok"
	case BasicPublishID:
		return "basic.publish"
	case BasicReturnID:
		return "basic.return"
	case BasicDeliverID:
		return "basic.deliver"
	case BasicGetID:
		return "basic.get"
	case BasicGetOKID:
		return "basic.get-ok"
	case BasicGetEmptyID:
		return "basic.get-empty"
	case BasicAckID:
		return "basic.ack"
	case BasicRejectID:
		return "basic.reject"
	case BasicRecoverAsyncID:
		return "basic.recover-async"
	case BasicRecoverID:
		return "basic.recover"
	case BasicRecoverOKID:
		return "basic.recover-ok"
	case BasicNackID:
		return "basic.nack"
	case TxSelectID:
		return "tx.select"
	case TxSelectOKID:
		return "tx.select-ok"
	case TxCommitID:
		return "tx.commit"
	case TxCommitOKID:
		return "tx.commit-ok"
	case TxRollbackID:
		return "tx.rollback"
	case TxRollbackOKID:
		return "tx.rollback-ok"
	case ConfirmSelectID:
		return "confirm.select"
	case ConfirmSelectOKID:
		return "confirm.select-ok"
	case AccessRequestID:
		return "access.request"
	case AccessRequestOKID:
		return "access.request-ok"
	}
	return "unknown"
}

// New returns an empty method of the id; nil when there is none.
func New(id ID) Method {
	switch id {
	case ConnectionStartID:
		return new(ConnectionStart)
	case ConnectionStartOKID:
		return new(ConnectionStartOK)
	case ConnectionSecureID:
		return new(ConnectionSecure)
	case ConnectionSecureOKID:
		return new(ConnectionSecureOK)
	case ConnectionTuneID:
		return new(ConnectionTune)
	case ConnectionTuneOKID:
		return new(ConnectionTuneOK)
	case ConnectionOpenID:
		return new(ConnectionOpen)
	case ConnectionOpenOKID:
		return new(ConnectionOpenOK)
	case ConnectionCloseID:
		return new(ConnectionClose)
	case ConnectionCloseOKID:
		return new(ConnectionCloseOK)
	case ConnectionBlockedID:
		return new(ConnectionBlocked)
	case ConnectionUnblockedID:
		return new(ConnectionUnblocked)
	case ConnectionUpdateSecretID:
		return new(ConnectionUpdateSecret)
	case ConnectionUpdateSecretOKID:
		return new(ConnectionUpdateSecretOK)
	case ChannelOpenID:
		return new(ChannelOpen)
	case ChannelOpenOKID:
		return new(ChannelOpenOK)
	case ChannelFlowID:
		return new(ChannelFlow)
	case ChannelFlowOKID:
		return new(ChannelFlowOK)
	case ChannelCloseID:
		return new(ChannelClose)
	case ChannelCloseOKID:
		return new(ChannelCloseOK)
	case ExchangeDeclareID:
		return new(ExchangeDeclare)
	case ExchangeDeclareOKID:
		return new(ExchangeDeclareOK)
	case ExchangeDeleteID:
		return new(ExchangeDelete)
	case ExchangeDeleteOKID:
		return new(ExchangeDeleteOK)
	case ExchangeBindID:
		return new(ExchangeBind)
	case ExchangeBindOKID:
		return new(ExchangeBindOK)
	case ExchangeUnbindID:
		return new(ExchangeUnbind)
	case ExchangeUnbindOKID:
		return new(ExchangeUnbindOK)
	case QueueDeclareID:
		return new(QueueDeclare)
	case QueueDeclareOKID:
		return new(QueueDeclareOK)
	case QueueBindID:
		return new(QueueBind)
	case QueueBindOKID:
		return new(QueueBindOK)
	case QueueUnbindID:
		return new(QueueUnbind)
	case QueueUnbindOKID:
		return new(QueueUnbindOK)
	case QueuePurgeID:
		return new(QueuePurge)
	case QueuePurgeOKID:
		return new(QueuePurgeOK)
	case QueueDeleteID:
		return new(QueueDelete)
	case QueueDeleteOKID:
		return new(QueueDeleteOK)
	case BasicQosID:
		return new(BasicQos)
	case BasicQosOKID:
		return new(BasicQosOK)
	case BasicConsumeID:
		return new(BasicConsume)
	case BasicConsumeOKID:
		return new(BasicConsumeOK)
	case BasicCancelID:
		return new(BasicCancel)
	case BasicCancelOKID:
		return new(BasicCancelOK)
	case BasicPublishID:
		return new(BasicPublish)
	case BasicReturnID:
		return new(BasicReturn)
	case BasicDeliverID:
		return new(BasicDeliver)
	case BasicGetID:
		return new(BasicGet)
	case BasicGetOKID:
		return new(BasicGetOK)
	case BasicGetEmptyID:
		return new(BasicGetEmpty)
	case BasicAckID:
		return new(BasicAck)
	case BasicRejectID:
		return new(BasicReject)
	case BasicRecoverAsyncID:
		return new(BasicRecoverAsync)
	case BasicRecoverID:
		return new(BasicRecover)
	case BasicRecoverOKID:
		return new(BasicRecoverOK)
	case BasicNackID:
		return new(BasicNack)
	case TxSelectID:
		return new(TxSelect)
	case TxSelectOKID:
		return new(TxSelectOK)
	case TxCommitID:
		return new(TxCommit)
	case TxCommitOKID:
		return new(TxCommitOK)
	case TxRollbackID:
		return new(TxRollback)
	case TxRollbackOKID:
		return new(TxRollbackOK)
	case ConfirmSelectID:
		return new(ConfirmSelect)
	case ConfirmSelectOKID:
		return new(ConfirmSelectOK)
	case AccessRequestID:
		return new(AccessRequest)
	case AccessRequestOKID:
		return new(AccessRequestOK)
	}
	return nil
}

// ConnectionStart is connection.start.
type ConnectionStart struct {
	VersionMajor     uint8
	VersionMinor     uint8
	ServerProperties record.Table
	Mechanisms       string
	Locales          string
}

// ID returns ConnectionStartID.
func (m *ConnectionStart) ID() ID { return ConnectionStartID }

// Append appends the encoded method to b.
func (m *ConnectionStart) Append(b []byte) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(ConnectionStartID))
	b = append(b, m.VersionMajor)
	b = append(b, m.VersionMinor)
	b = appendTable(b, m.ServerProperties)
	b = appendLongstr(b, m.Mechanisms)
	b = appendLongstr(b, m.Locales)
	return b
}

// Decode reads the method's arguments.
func (m *ConnectionStart) Decode(args []byte) error {
	r := reader{b: args}
	m.VersionMajor = r.octet()
	m.VersionMinor = r.octet()
	m.ServerProperties = r.table()
	m.Mechanisms = string(r.longstr())
	m.Locales = string(r.longstr())
	return r.end()
}

// ConnectionStartOK is connection.start-ok.
type ConnectionStartOK struct {
	ClientProperties record.Table
	Mechanism        string
	Response         string
	Locale           string
}

// ID returns ConnectionStartOKID.
func (m *ConnectionStartOK) ID() ID { return ConnectionStartOKID }

// Append appends the encoded method to b.
func (m *ConnectionStartOK) Append(b []byte) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(ConnectionStartOKID))
	b = appendTable(b, m.ClientProperties)
	b = appendShortstr(b, m.Mechanism)
	b = appendLongstr(b, m.Response)
	b = appendShortstr(b, m.Locale)
	return b
}

// Decode reads the method's arguments.
func (m *ConnectionStartOK) Decode(args []byte) error {
	r := reader{b: args}
	m.ClientProperties = r.table()
	m.Mechanism = string(r.shortstr())
	m.Response = string(r.longstr())
	m.Locale = string(r.shortstr())
	return r.end()
}

// ConnectionSecure is connection.secure.
type ConnectionSecure struct {
	Challenge string
}

// ID returns ConnectionSecureID.
func (m *ConnectionSecure) ID() ID { return ConnectionSecureID }

// Append appends the encoded method to b.
func (m *ConnectionSecure) Append(b []byte) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(ConnectionSecureID))
	b = appendLongstr(b, m.Challenge)
	return b
}

// Decode reads the method's arguments.
func (m *ConnectionSecure) Decode(args []byte) error {
	r := reader{b: args}
	m.Challenge = string(r.longstr())
	return r.end()
}

// ConnectionSecureOK is connection.secure-ok.
type ConnectionSecureOK struct {
	Response string
}

// ID returns ConnectionSecureOKID.
func (m *ConnectionSecureOK) ID() ID { return ConnectionSecureOKID }

// Append appends the encoded method to b.
func (m *ConnectionSecureOK) Append(b []byte) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(ConnectionSecureOKID))
	b = appendLongstr(b, m.Response)
	return b
}

// Decode reads the method's arguments.
func (m *ConnectionSecureOK) Decode(args []byte) error {
	r := reader{b: args}
	m.Response = string(r.longstr())
	return r.end()
}

// ConnectionTune is connection.tune.
type ConnectionTune struct {
	ChannelMax uint16
	FrameMax   uint32
	Heartbeat  uint16
}

// ID returns ConnectionTuneID.
func (m *ConnectionTune) ID() ID { return ConnectionTuneID }

// Append appends the encoded method to b.
func (m *ConnectionTune) Append(b []byte) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(ConnectionTuneID))
	b = binary.BigEndian.AppendUint16(b, m.ChannelMax)
	b = binary.BigEndian.AppendUint32(b, m.FrameMax)
	b = binary.BigEndian.AppendUint16(b, m.Heartbeat)
	return b
}

// Decode reads the method's arguments.
func (m *ConnectionTune) Decode(args []byte) error {
	r := reader{b: args}
	m.ChannelMax = r.short()
	m.FrameMax = r.long()
	m.Heartbeat = r.short()
	return r.end()
}

// ConnectionTuneOK is connection.tune-ok.
type ConnectionTuneOK struct {
	ChannelMax uint16
	FrameMax   uint32
	Heartbeat  uint16
}

// ID returns ConnectionTuneOKID.
func (m *ConnectionTuneOK) ID() ID { return ConnectionTuneOKID }

// Append appends the encoded method to b.
func (m *ConnectionTuneOK) Append(b []byte) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(ConnectionTuneOKID))
	b = binary.BigEndian.AppendUint16(b, m.ChannelMax)
	b = binary.BigEndian.AppendUint32(b, m.FrameMax)
	b = binary.BigEndian.AppendUint16(b, m.Heartbeat)
	return b
}

// Decode reads the method's arguments.
func (m *ConnectionTuneOK) Decode(args []byte) error {
	r := reader{b: args}
	m.ChannelMax = r.short()
	m.FrameMax = r.long()
	m.Heartbeat = r.short()
	return r.end()
}

// ConnectionOpen is connection.open.
type ConnectionOpen struct {
	VirtualHost string
}

// ID returns ConnectionOpenID.
func (m *ConnectionOpen) ID() ID { return ConnectionOpenID }

// Append appends the encoded method to b.
func (m *ConnectionOpen) Append(b []byte) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(ConnectionOpenID))
	b = appendShortstr(b, m.VirtualHost)
	b = appendShortstr(b, "")
	b = append(b, 0)
	return b
}

// Decode reads the method's arguments.
func (m *ConnectionOpen) Decode(args []byte) error {
	r := reader{b: args}
	m.VirtualHost = string(r.shortstr())
	r.shortstr()
	r.octet()
	return r.end()
}

// ConnectionOpenOK is connection.open-ok.
type ConnectionOpenOK struct {
}

// ID returns ConnectionOpenOKID.
func (m *ConnectionOpenOK) ID() ID { return ConnectionOpenOKID }

// Append appends the encoded method to b.
func (m *ConnectionOpenOK) Append(b []byte) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(ConnectionOpenOKID))
	b = appendShortstr(b, "")
	return b
}

// Decode reads the method's arguments.
func (m *ConnectionOpenOK) Decode(args []byte) error {
	r := reader{b: args}
	r.shortstr()
	return r.end()
}

// ConnectionClose is connection.close.
type ConnectionClose struct {
	ReplyCode uint16
	ReplyText string
	ClassID   uint16
	MethodID  uint16
}

// ID returns ConnectionCloseID.
func (m *ConnectionClose) ID() ID { return ConnectionCloseID }

// Append appends the encoded method to b.
func (m *ConnectionClose) Append(b []byte) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(ConnectionCloseID))
	b = binary.BigEndian.AppendUint16(b, m.ReplyCode)
	b = appendShortstr(b, m.ReplyText)
	b = binary.BigEndian.AppendUint16(b, m.ClassID)
	b = binary.BigEndian.AppendUint16(b, m.MethodID)
	return b
}

// Decode reads the method's arguments.
func (m *ConnectionClose) Decode(args []byte) error {
	r := reader{b: args}
	m.ReplyCode = r.short()
	m.ReplyText = string(r.shortstr())
	m.ClassID = r.short()
	m.MethodID = r.short()
	return r.end()
}

// ConnectionCloseOK is connection.close-ok.
type ConnectionCloseOK struct {
}

// ID returns ConnectionCloseOKID.
func (m *ConnectionCloseOK) ID() ID { return ConnectionCloseOKID }

// Append appends the encoded method to b.
func (m *ConnectionCloseOK) Append(b []byte) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(ConnectionCloseOKID))
	return b
}

// Decode reads the method's arguments.
func (m *ConnectionCloseOK) Decode(args []byte) error {
	r := reader{b: args}
	return r.end()
}

// ConnectionBlocked is connection.blocked.
type ConnectionBlocked struct {
	Reason string
}

// ID returns ConnectionBlockedID.
func (m *ConnectionBlocked) ID() ID { return ConnectionBlockedID }

// Append appends the encoded method to b.
func (m *ConnectionBlocked) Append(b []byte) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(ConnectionBlockedID))
	b = appendShortstr(b, m.Reason)
	return b
}

// Decode reads the method's arguments.
func (m *ConnectionBlocked) Decode(args []byte) error {
	r := reader{b: args}
	m.Reason = string(r.shortstr())
	return r.end()
}

// ConnectionUnblocked is connection.unblocked.
type ConnectionUnblocked struct {
}

// ID returns ConnectionUnblockedID.
func (m *ConnectionUnblocked) ID() ID { return ConnectionUnblockedID }

// Append appends the encoded method to b.
func (m *ConnectionUnblocked) Append(b []byte) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(ConnectionUnblockedID))
	return b
}

// Decode reads the method's arguments.
func (m *ConnectionUnblocked) Decode(args []byte) error {
	r := reader{b: args}
	return r.end()
}

// ConnectionUpdateSecret is connection.update-secret.
type ConnectionUpdateSecret struct {
	NewSecret string
	Reason    string
}

// ID returns ConnectionUpdateSecretID.
func (m *ConnectionUpdateSecret) ID() ID { return ConnectionUpdateSecretID }

// Append appends the encoded method to b.
func (m *ConnectionUpdateSecret) Append(b []byte) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(ConnectionUpdateSecretID))
	b = appendLongstr(b, m.NewSecret)
	b = appendShortstr(b, m.Reason)
	return b
}

// Decode reads the method's arguments.
func (m *ConnectionUpdateSecret) Decode(args []byte) error {
	r := reader{b: args}
	m.NewSecret = string(r.longstr())
	m.Reason = string(r.shortstr())
	return r.end()
}

// ConnectionUpdateSecretOK is connection.update-secret-ok.
type ConnectionUpdateSecretOK struct {
}

// ID returns ConnectionUpdateSecretOKID.
func (m *ConnectionUpdateSecretOK) ID() ID { return ConnectionUpdateSecretOKID }

// Append appends the encoded method to b.
func (m *ConnectionUpdateSecretOK) Append(b []byte) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(ConnectionUpdateSecretOKID))
	return b
}

// Decode reads the method's arguments.
func (m *ConnectionUpdateSecretOK) Decode(args []byte) error {
	r := reader{b: args}
	return r.end()
}

// ChannelOpen is channel.open.
type ChannelOpen struct {
}

// ID returns ChannelOpenID.
func (m *ChannelOpen) ID() ID { return ChannelOpenID }

// Append appends the encoded method to b.
func (m *ChannelOpen) Append(b []byte) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(ChannelOpenID))
	b = appendShortstr(b, "")
	return b
}

// Decode reads the method's arguments.
func (m *ChannelOpen) Decode(args []byte) error {
	r := reader{b: args}
	r.shortstr()
	return r.end()
}

// ChannelOpenOK is channel.open-ok.
type ChannelOpenOK struct {
}

// ID returns ChannelOpenOKID.
func (m *ChannelOpenOK) ID() ID { return ChannelOpenOKID }

// Append appends the encoded method to b.
func (m *ChannelOpenOK) Append(b []byte) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(ChannelOpenOKID))
	b = appendLongstr(b, "")
	return b
}

// Decode reads the method's arguments.
func (m *ChannelOpenOK) Decode(args []byte) error {
	r := reader{b: args}
	r.longstr()
	return r.end()
}

// ChannelFlow is channel.flow.
type ChannelFlow struct {
	Active bool
}

// ID returns ChannelFlowID.
func (m *ChannelFlow) ID() ID { return ChannelFlowID }

// Append appends the encoded method to b.
func (m *ChannelFlow) Append(b []byte) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(ChannelFlowID))
	b = append(b, bit(m.Active, 0))
	return b
}

// Decode reads the method's arguments.
func (m *ChannelFlow) Decode(args []byte) error {
	r := reader{b: args}
	bits := r.octet()
	m.Active = bits&(1<<0) != 0
	return r.end()
}

// ChannelFlowOK is channel.flow-ok.
type ChannelFlowOK struct {
	Active bool
}

// ID returns ChannelFlowOKID.
func (m *ChannelFlowOK) ID() ID { return ChannelFlowOKID }

// Append appends the encoded method to b.
func (m *ChannelFlowOK) Append(b []byte) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(ChannelFlowOKID))
	b = append(b, bit(m.Active, 0))
	return b
}

// Decode reads the method's arguments.
func (m *ChannelFlowOK) Decode(args []byte) error {
	r := reader{b: args}
	bits := r.octet()
	m.Active = bits&(1<<0) != 0
	return r.end()
}

// ChannelClose is channel.close.
type ChannelClose struct {
	ReplyCode uint16
	ReplyText string
	ClassID   uint16
	MethodID  uint16
}

// ID returns ChannelCloseID.
func (m *ChannelClose) ID() ID { return ChannelCloseID }

// Append appends the encoded method to b.
func (m *ChannelClose) Append(b []byte) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(ChannelCloseID))
	b = binary.BigEndian.AppendUint16(b, m.ReplyCode)
	b = appendShortstr(b, m.ReplyText)
	b = binary.BigEndian.AppendUint16(b, m.ClassID)
	b = binary.BigEndian.AppendUint16(b, m.MethodID)
	return b
}

// Decode reads the method's arguments.
func (m *ChannelClose) Decode(args []byte) error {
	r := reader{b: args}
	m.ReplyCode = r.short()
	m.ReplyText = string(r.shortstr())
	m.ClassID = r.short()
	m.MethodID = r.short()
	return r.end()
}

// ChannelCloseOK is channel.close-ok.
type ChannelCloseOK struct {
}

// ID returns ChannelCloseOKID.
func (m *ChannelCloseOK) ID() ID { return ChannelCloseOKID }

// Append appends the encoded method to b.
func (m *ChannelCloseOK) Append(b []byte) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(ChannelCloseOKID))
	return b
}

// Decode reads the method's arguments.
func (m *ChannelCloseOK) Decode(args []byte) error {
	r := reader{b: args}
	return r.end()
}

// ExchangeDeclare is exchange.declare.
type ExchangeDeclare struct {
	Exchange   string
	Type       string
	Passive    bool
	Durable    bool
	AutoDelete bool
	Internal   bool
	NoWait     bool
	Arguments  record.Table
}

// ID returns ExchangeDeclareID.
func (m *ExchangeDeclare) ID() ID { return ExchangeDeclareID }

// Append appends the encoded method to b.
func (m *ExchangeDeclare) Append(b []byte) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(ExchangeDeclareID))
	b = binary.BigEndian.AppendUint16(b, 0)
	b = appendShortstr(b, m.Exchange)
	b = appendShortstr(b, m.Type)
	b = append(b, bit(m.Passive, 0)|bit(m.Durable, 1)|bit(m.AutoDelete, 2)|bit(m.Internal, 3)|bit(m.NoWait, 4))
	b = appendTable(b, m.Arguments)
	return b
}

// Decode reads the method's arguments.
func (m *ExchangeDeclare) Decode(args []byte) error {
	r := reader{b: args}
	r.short()
	m.Exchange = string(r.shortstr())
	m.Type = string(r.shortstr())
	bits := r.octet()
	m.Passive = bits&(1<<0) != 0
	m.Durable = bits&(1<<1) != 0
	m.AutoDelete = bits&(1<<2) != 0
	m.Internal = bits&(1<<3) != 0
	m.NoWait = bits&(1<<4) != 0
	m.Arguments = r.table()
	return r.end()
}

// ExchangeDeclareOK is exchange.declare-ok.
type ExchangeDeclareOK struct {
}

// ID returns ExchangeDeclareOKID.
func (m *ExchangeDeclareOK) ID() ID { return ExchangeDeclareOKID }

// Append appends the encoded method to b.
func (m *ExchangeDeclareOK) Append(b []byte) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(ExchangeDeclareOKID))
	return b
}

// Decode reads the method's arguments.
func (m *ExchangeDeclareOK) Decode(args []byte) error {
	r := reader{b: args}
	return r.end()
}

// ExchangeDelete is exchange.delete.
type ExchangeDelete struct {
	Exchange string
	IfUnused bool
	NoWait   bool
}

// ID returns ExchangeDeleteID.
func (m *ExchangeDelete) ID() ID { return ExchangeDeleteID }

// Append appends the encoded method to b.
func (m *ExchangeDelete) Append(b []byte) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(ExchangeDeleteID))
	b = binary.BigEndian.AppendUint16(b, 0)
	b = appendShortstr(b, m.Exchange)
	b = append(b, bit(m.IfUnused, 0)|bit(m.NoWait, 1))
	return b
}

// Decode reads the method's arguments.
func (m *ExchangeDelete) Decode(args []byte) error {
	r := reader{b: args}
	r.short()
	m.Exchange = string(r.shortstr())
	bits := r.octet()
	m.IfUnused = bits&(1<<0) != 0
	m.NoWait = bits&(1<<1) != 0
	return r.end()
}

// ExchangeDeleteOK is exchange.delete-ok.
type ExchangeDeleteOK struct {
}

// ID returns ExchangeDeleteOKID.
func (m *ExchangeDeleteOK) ID() ID { return ExchangeDeleteOKID }

// Append appends the encoded method to b.
func (m *ExchangeDeleteOK) Append(b []byte) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(ExchangeDeleteOKID))
	return b
}

// Decode reads the method's arguments.
func (m *ExchangeDeleteOK) Decode(args []byte) error {
	r := reader{b: args}
	return r.end()
}

// ExchangeBind is exchange.bind.
type ExchangeBind struct {
	Destination string
	Source      string
	RoutingKey  string
	NoWait      bool
	Arguments   record.Table
}

// ID returns ExchangeBindID.
func (m *ExchangeBind) ID() ID { return ExchangeBindID }

// Append appends the encoded method to b.
func (m *ExchangeBind) Append(b []byte) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(ExchangeBindID))
	b = binary.BigEndian.AppendUint16(b, 0)
	b = appendShortstr(b, m.Destination)
	b = appendShortstr(b, m.Source)
	b = appendShortstr(b, m.RoutingKey)
	b = append(b, bit(m.NoWait, 0))
	b = appendTable(b, m.Arguments)
	return b
}

// Decode reads the method's arguments.
func (m *ExchangeBind) Decode(args []byte) error {
	r := reader{b: args}
	r.short()
	m.Destination = string(r.shortstr())
	m.Source = string(r.shortstr())
	m.RoutingKey = string(r.shortstr())
	bits := r.octet()
	m.NoWait = bits&(1<<0) != 0
	m.Arguments = r.table()
	return r.end()
}

// ExchangeBindOK is exchange.bind-ok.
type ExchangeBindOK struct {
}

// ID returns ExchangeBindOKID.
func (m *ExchangeBindOK) ID() ID { return ExchangeBindOKID }

// Append appends the encoded method to b.
func (m *ExchangeBindOK) Append(b []byte) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(ExchangeBindOKID))
	return b
}

// Decode reads the method's arguments.
func (m *ExchangeBindOK) Decode(args []byte) error {
	r := reader{b: args}
	return r.end()
}

// ExchangeUnbind is exchange.unbind.
type ExchangeUnbind struct {
	Destination string
	Source      string
	RoutingKey  string
	NoWait      bool
	Arguments   record.Table
}

// ID returns ExchangeUnbindID.
func (m *ExchangeUnbind) ID() ID { return ExchangeUnbindID }

// Append appends the encoded method to b.
func (m *ExchangeUnbind) Append(b []byte) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(ExchangeUnbindID))
	b = binary.BigEndian.AppendUint16(b, 0)
	b = appendShortstr(b, m.Destination)
	b = appendShortstr(b, m.Source)
	b = appendShortstr(b, m.RoutingKey)
	b = append(b, bit(m.NoWait, 0))
	b = appendTable(b, m.Arguments)
	return b
}

// Decode reads the method's arguments.
func (m *ExchangeUnbind) Decode(args []byte) error {
	r := reader{b: args}
	r.short()
	m.Destination = string(r.shortstr())
	m.Source = string(r.shortstr())
	m.RoutingKey = string(r.shortstr())
	bits := r.octet()
	m.NoWait = bits&(1<<0) != 0
	m.Arguments = r.table()
	return r.end()
}

// ExchangeUnbindOK is exchange.unbind-ok.
type ExchangeUnbindOK struct {
}

// ID returns ExchangeUnbindOKID.
func (m *ExchangeUnbindOK) ID() ID { return ExchangeUnbindOKID }

// Append appends the encoded method to b.
func (m *ExchangeUnbindOK) Append(b []byte) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(ExchangeUnbindOKID))
	return b
}

// Decode reads the method's arguments.
func (m *ExchangeUnbindOK) Decode(args []byte) error {
	r := reader{b: args}
	return r.end()
}

// QueueDeclare is queue.declare.
type QueueDeclare struct {
	Queue      string
	Passive    bool
	Durable    bool
	Exclusive  bool
	AutoDelete bool
	NoWait     bool
	Arguments  record.Table
}

// ID returns QueueDeclareID.
func (m *QueueDeclare) ID() ID { return QueueDeclareID }

// Append appends the encoded method to b.
func (m *QueueDeclare) Append(b []byte) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(QueueDeclareID))
	b = binary.BigEndian.AppendUint16(b, 0)
	b = appendShortstr(b, m.Queue)
	b = append(b, bit(m.Passive, 0)|bit(m.Durable, 1)|bit(m.Exclusive, 2)|bit(m.AutoDelete, 3)|bit(m.NoWait, 4))
	b = appendTable(b, m.Arguments)
	return b
}

// Decode reads the method's arguments.
func (m *QueueDeclare) Decode(args []byte) error {
	r := reader{b: args}
	r.short()
	m.Queue = string(r.shortstr())
	bits := r.octet()
	m.Passive = bits&(1<<0) != 0
	m.Durable = bits&(1<<1) != 0
	m.Exclusive = bits&(1<<2) != 0
	m.AutoDelete = bits&(1<<3) != 0
	m.NoWait = bits&(1<<4) != 0
	m.Arguments = r.table()
	return r.end()
}

// QueueDeclareOK is queue.declare-ok.
type QueueDeclareOK struct {
	Queue         string
	MessageCount  uint32
	ConsumerCount uint32
}

// ID returns QueueDeclareOKID.
func (m *QueueDeclareOK) ID() ID { return QueueDeclareOKID }

// Append appends the encoded method to b.
func (m *QueueDeclareOK) Append(b []byte) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(QueueDeclareOKID))
	b = appendShortstr(b, m.Queue)
	b = binary.BigEndian.AppendUint32(b, m.MessageCount)
	b = binary.BigEndian.AppendUint32(b, m.ConsumerCount)
	return b
}

// Decode reads the method's arguments.
func (m *QueueDeclareOK) Decode(args []byte) error {
	r := reader{b: args}
	m.Queue = string(r.shortstr())
	m.MessageCount = r.long()
	m.ConsumerCount = r.long()
	return r.end()
}

// QueueBind is queue.bind.
type QueueBind struct {
	Queue      string
	Exchange   string
	RoutingKey string
	NoWait     bool
	Arguments  record.Table
}

// ID returns QueueBindID.
func (m *QueueBind) ID() ID { return QueueBindID }

// Append appends the encoded method to b.
func (m *QueueBind) Append(b []byte) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(QueueBindID))
	b = binary.BigEndian.AppendUint16(b, 0)
	b = appendShortstr(b, m.Queue)
	b = appendShortstr(b, m.Exchange)
	b = appendShortstr(b, m.RoutingKey)
	b = append(b, bit(m.NoWait, 0))
	b = appendTable(b, m.Arguments)
	return b
}

// Decode reads the method's arguments.
func (m *QueueBind) Decode(args []byte) error {
	r := reader{b: args}
	r.short()
	m.Queue = string(r.shortstr())
	m.Exchange = string(r.shortstr())
	m.RoutingKey = string(r.shortstr())
	bits := r.octet()
	m.NoWait = bits&(1<<0) != 0
	m.Arguments = r.table()
	return r.end()
}

// QueueBindOK is queue.bind-ok.
type QueueBindOK struct {
}

// ID returns QueueBindOKID.
func (m *QueueBindOK) ID() ID { return QueueBindOKID }

// Append appends the encoded method to b.
func (m *QueueBindOK) Append(b []byte) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(QueueBindOKID))
	return b
}

// Decode reads the method's arguments.
func (m *QueueBindOK) Decode(args []byte) error {
	r := reader{b: args}
	return r.end()
}

// QueueUnbind is queue.unbind.
type QueueUnbind struct {
	Queue      string
	Exchange   string
	RoutingKey string
	Arguments  record.Table
}

// ID returns QueueUnbindID.
func (m *QueueUnbind) ID() ID { return QueueUnbindID }

// Append appends the encoded method to b.
func (m *QueueUnbind) Append(b []byte) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(QueueUnbindID))
	b = binary.BigEndian.AppendUint16(b, 0)
	b = appendShortstr(b, m.Queue)
	b = appendShortstr(b, m.Exchange)
	b = appendShortstr(b, m.RoutingKey)
	b = appendTable(b, m.Arguments)
	return b
}

// Decode reads the method's arguments.
func (m *QueueUnbind) Decode(args []byte) error {
	r := reader{b: args}
	r.short()
	m.Queue = string(r.shortstr())
	m.Exchange = string(r.shortstr())
	m.RoutingKey = string(r.shortstr())
	m.Arguments = r.table()
	return r.end()
}

// QueueUnbindOK is queue.unbind-ok.
type QueueUnbindOK struct {
}

// ID returns QueueUnbindOKID.
func (m *QueueUnbindOK) ID() ID { return QueueUnbindOKID }

// Append appends the encoded method to b.
func (m *QueueUnbindOK) Append(b []byte) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(QueueUnbindOKID))
	return b
}

// Decode reads the method's arguments.
func (m *QueueUnbindOK) Decode(args []byte) error {
	r := reader{b: args}
	return r.end()
}

// QueuePurge is queue.purge.
type QueuePurge struct {
	Queue  string
	NoWait bool
}

// ID returns QueuePurgeID.
func (m *QueuePurge) ID() ID { return QueuePurgeID }

// Append appends the encoded method to b.
func (m *QueuePurge) Append(b []byte) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(QueuePurgeID))
	b = binary.BigEndian.AppendUint16(b, 0)
	b = appendShortstr(b, m.Queue)
	b = append(b, bit(m.NoWait, 0))
	return b
}

// Decode reads the method's arguments.
func (m *QueuePurge) Decode(args []byte) error {
	r := reader{b: args}
	r.short()
	m.Queue = string(r.shortstr())
	bits := r.octet()
	m.NoWait = bits&(1<<0) != 0
	return r.end()
}

// QueuePurgeOK is queue.purge-ok.
type QueuePurgeOK struct {
	MessageCount uint32
}

// ID returns QueuePurgeOKID.
func (m *QueuePurgeOK) ID() ID { return QueuePurgeOKID }

// Append appends the encoded method to b.
func (m *QueuePurgeOK) Append(b []byte) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(QueuePurgeOKID))
	b = binary.BigEndian.AppendUint32(b, m.MessageCount)
	return b
}

// Decode reads the method's arguments.
func (m *QueuePurgeOK) Decode(args []byte) error {
	r := reader{b: args}
	m.MessageCount = r.long()
	return r.end()
}

// QueueDelete is queue.delete.
type QueueDelete struct {
	Queue    string
	IfUnused bool
	IfEmpty  bool
	NoWait   bool
}

// ID returns QueueDeleteID.
func (m *QueueDelete) ID() ID { return QueueDeleteID }

// Append appends the encoded method to b.
func (m *QueueDelete) Append(b []byte) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(QueueDeleteID))
	b = binary.BigEndian.AppendUint16(b, 0)
	b = appendShortstr(b, m.Queue)
	b = append(b, bit(m.IfUnused, 0)|bit(m.IfEmpty, 1)|bit(m.NoWait, 2))
	return b
}

// Decode reads the method's arguments.
func (m *QueueDelete) Decode(args []byte) error {
	r := reader{b: args}
	r.short()
	m.Queue = string(r.shortstr())
	bits := r.octet()
	m.IfUnused = bits&(1<<0) != 0
	m.IfEmpty = bits&(1<<1) != 0
	m.NoWait = bits&(1<<2) != 0
	return r.end()
}

// QueueDeleteOK is queue.delete-ok.
type QueueDeleteOK struct {
	MessageCount uint32
}

// ID returns QueueDeleteOKID.
func (m *QueueDeleteOK) ID() ID { return QueueDeleteOKID }

// Append appends the encoded method to b.
func (m *QueueDeleteOK) Append(b []byte) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(QueueDeleteOKID))
	b = binary.BigEndian.AppendUint32(b, m.MessageCount)
	return b
}

// Decode reads the method's arguments.
func (m *QueueDeleteOK) Decode(args []byte) error {
	r := reader{b: args}
	m.MessageCount = r.long()
	return r.end()
}

// BasicQos is basic.qos.
type BasicQos struct {
	PrefetchSize  uint32
	PrefetchCount uint16
	Global        bool
}

// ID returns BasicQosID.
func (m *BasicQos) ID() ID { return BasicQosID }

// Append appends the encoded method to b.
func (m *BasicQos) Append(b []byte) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(BasicQosID))
	b = binary.BigEndian.AppendUint32(b, m.PrefetchSize)
	b = binary.BigEndian.AppendUint16(b, m.PrefetchCount)
	b = append(b, bit(m.Global, 0))
	return b
}

// Decode reads the method's arguments.
func (m *BasicQos) Decode(args []byte) error {
	r := reader{b: args}
	m.PrefetchSize = r.long()
	m.PrefetchCount = r.short()
	bits := r.octet()
	m.Global = bits&(1<<0) != 0
	return r.end()
}

// BasicQosOK is basic.qos-ok.
type BasicQosOK struct {
}

// ID returns BasicQosOKID.
func (m *BasicQosOK) ID() ID { return BasicQosOKID }

// Append appends the encoded method to b.
func (m *BasicQosOK) Append(b []byte) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(BasicQosOKID))
	return b
}

// Decode reads the method's arguments.
func (m *BasicQosOK) Decode(args []byte) error {
	r := reader{b: args}
	return r.end()
}

// BasicConsume is basic.consume.
type BasicConsume struct {
	Queue       string
	ConsumerTag string
	NoLocal     bool
	NoAck       bool
	Exclusive   bool
	NoWait      bool
	Arguments   record.Table
}

// ID returns BasicConsumeID.
func (m *BasicConsume) ID() ID { return BasicConsumeID }

// Append appends the encoded method to b.
func (m *BasicConsume) Append(b []byte) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(BasicConsumeID))
	b = binary.BigEndian.AppendUint16(b, 0)
	b = appendShortstr(b, m.Queue)
	b = appendShortstr(b, m.ConsumerTag)
	b = append(b, bit(m.NoLocal, 0)|bit(m.NoAck, 1)|bit(m.Exclusive, 2)|bit(m.NoWait, 3))
	b = appendTable(b, m.Arguments)
	return b
}

// Decode reads the method's arguments.
func (m *BasicConsume) Decode(args []byte) error {
	r := reader{b: args}
	r.short()
	m.Queue = string(r.shortstr())
	m.ConsumerTag = string(r.shortstr())
	bits := r.octet()
	m.NoLocal = bits&(1<<0) != 0
	m.NoAck = bits&(1<<1) != 0
	m.Exclusive = bits&(1<<2) != 0
	m.NoWait = bits&(1<<3) != 0
	m.Arguments = r.table()
	return r.end()
}

// BasicConsumeOK is basic.consume-ok.
type BasicConsumeOK struct {
	ConsumerTag string
}

// ID returns BasicConsumeOKID.
func (m *BasicConsumeOK) ID() ID { return BasicConsumeOKID }

// Append appends the encoded method to b.
func (m *BasicConsumeOK) Append(b []byte) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(BasicConsumeOKID))
	b = appendShortstr(b, m.ConsumerTag)
	return b
}

// Decode reads the method's arguments.
func (m *BasicConsumeOK) Decode(args []byte) error {
	r := reader{b: args}
	m.ConsumerTag = string(r.shortstr())
	return r.end()
}

// BasicCancel is basic.cancel.
type BasicCancel struct {
	ConsumerTag string
	NoWait      bool
}

// ID returns BasicCancelID.
func (m *BasicCancel) ID() ID { return BasicCancelID }

// Append appends the encoded method to b.
func (m *BasicCancel) Append(b []byte) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(BasicCancelID))
	b = appendShortstr(b, m.ConsumerTag)
	b = append(b, bit(m.NoWait, 0))
	return b
}

// Decode reads the method's arguments.
func (m *BasicCancel) Decode(args []byte) error {
	r := reader{b: args}
	m.ConsumerTag = string(r.shortstr())
	bits := r.octet()
	m.NoWait = bits&(1<<0) != 0
	return r.end()
}

// BasicCancelOK is basic.cancel-ok.
type BasicCancelOK struct {
	ConsumerTag string
}

// ID returns BasicCancelOKID.
func (m *BasicCancelOK) ID() ID { return BasicCancelOKID }

// Append appends the encoded method to b.
func (m *BasicCancelOK) Append(b []byte) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(BasicCancelOKID))
	b = appendShortstr(b, m.ConsumerTag)
	return b
}

// Decode reads the method's arguments.
func (m *BasicCancelOK) Decode(args []byte) error {
	r := reader{b: args}
	m.ConsumerTag = string(r.shortstr())
	return r.end()
}

// BasicPublish is basic.publish.
type BasicPublish struct {
	Exchange   []byte
	RoutingKey []byte
	Mandatory  bool
	Immediate  bool
}

// ID returns BasicPublishID.
func (m *BasicPublish) ID() ID { return BasicPublishID }

// Append appends the encoded method to b.
func (m *BasicPublish) Append(b []byte) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(BasicPublishID))
	b = binary.BigEndian.AppendUint16(b, 0)
	b = appendShortstr(b, m.Exchange)
	b = appendShortstr(b, m.RoutingKey)
	b = append(b, bit(m.Mandatory, 0)|bit(m.Immediate, 1))
	return b
}

// Decode reads the method's arguments.
func (m *BasicPublish) Decode(args []byte) error {
	r := reader{b: args}
	r.short()
	m.Exchange = r.shortstr()
	m.RoutingKey = r.shortstr()
	bits := r.octet()
	m.Mandatory = bits&(1<<0) != 0
	m.Immediate = bits&(1<<1) != 0
	return r.end()
}

// BasicReturn is basic.return.
type BasicReturn struct {
	ReplyCode  uint16
	ReplyText  []byte
	Exchange   []byte
	RoutingKey []byte
}

// ID returns BasicReturnID.
func (m *BasicReturn) ID() ID { return BasicReturnID }

// Append appends the encoded method to b.
func (m *BasicReturn) Append(b []byte) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(BasicReturnID))
	b = binary.BigEndian.AppendUint16(b, m.ReplyCode)
	b = appendShortstr(b, m.ReplyText)
	b = appendShortstr(b, m.Exchange)
	b = appendShortstr(b, m.RoutingKey)
	return b
}

// Decode reads the method's arguments.
func (m *BasicReturn) Decode(args []byte) error {
	r := reader{b: args}
	m.ReplyCode = r.short()
	m.ReplyText = r.shortstr()
	m.Exchange = r.shortstr()
	m.RoutingKey = r.shortstr()
	return r.end()
}

// BasicDeliver is basic.deliver.
type BasicDeliver struct {
	ConsumerTag []byte
	DeliveryTag uint64
	Redelivered bool
	Exchange    []byte
	RoutingKey  []byte
}

// ID returns BasicDeliverID.
func (m *BasicDeliver) ID() ID { return BasicDeliverID }

// Append appends the encoded method to b.
func (m *BasicDeliver) Append(b []byte) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(BasicDeliverID))
	b = appendShortstr(b, m.ConsumerTag)
	b = binary.BigEndian.AppendUint64(b, m.DeliveryTag)
	b = append(b, bit(m.Redelivered, 0))
	b = appendShortstr(b, m.Exchange)
	b = appendShortstr(b, m.RoutingKey)
	return b
}

// Decode reads the method's arguments.
func (m *BasicDeliver) Decode(args []byte) error {
	r := reader{b: args}
	m.ConsumerTag = r.shortstr()
	m.DeliveryTag = r.longlong()
	bits := r.octet()
	m.Redelivered = bits&(1<<0) != 0
	m.Exchange = r.shortstr()
	m.RoutingKey = r.shortstr()
	return r.end()
}

// BasicGet is basic.get.
type BasicGet struct {
	Queue string
	NoAck bool
}

// ID returns BasicGetID.
func (m *BasicGet) ID() ID { return BasicGetID }

// Append appends the encoded method to b.
func (m *BasicGet) Append(b []byte) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(BasicGetID))
	b = binary.BigEndian.AppendUint16(b, 0)
	b = appendShortstr(b, m.Queue)
	b = append(b, bit(m.NoAck, 0))
	return b
}

// Decode reads the method's arguments.
func (m *BasicGet) Decode(args []byte) error {
	r := reader{b: args}
	r.short()
	m.Queue = string(r.shortstr())
	bits := r.octet()
	m.NoAck = bits&(1<<0) != 0
	return r.end()
}

// BasicGetOK is basic.get-ok.
type BasicGetOK struct {
	DeliveryTag  uint64
	Redelivered  bool
	Exchange     []byte
	RoutingKey   []byte
	MessageCount uint32
}

// ID returns BasicGetOKID.
func (m *BasicGetOK) ID() ID { return BasicGetOKID }

// Append appends the encoded method to b.
func (m *BasicGetOK) Append(b []byte) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(BasicGetOKID))
	b = binary.BigEndian.AppendUint64(b, m.DeliveryTag)
	b = append(b, bit(m.Redelivered, 0))
	b = appendShortstr(b, m.Exchange)
	b = appendShortstr(b, m.RoutingKey)
	b = binary.BigEndian.AppendUint32(b, m.MessageCount)
	return b
}

// Decode reads the method's arguments.
func (m *BasicGetOK) Decode(args []byte) error {
	r := reader{b: args}
	m.DeliveryTag = r.longlong()
	bits := r.octet()
	m.Redelivered = bits&(1<<0) != 0
	m.Exchange = r.shortstr()
	m.RoutingKey = r.shortstr()
	m.MessageCount = r.long()
	return r.end()
}

// BasicGetEmpty is basic.get-empty.
type BasicGetEmpty struct {
}

// ID returns BasicGetEmptyID.
func (m *BasicGetEmpty) ID() ID { return BasicGetEmptyID }

// Append appends the encoded method to b.
func (m *BasicGetEmpty) Append(b []byte) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(BasicGetEmptyID))
	b = appendShortstr(b, "")
	return b
}

// Decode reads the method's arguments.
func (m *BasicGetEmpty) Decode(args []byte) error {
	r := reader{b: args}
	r.shortstr()
	return r.end()
}

// BasicAck is basic.ack.
type BasicAck struct {
	DeliveryTag uint64
	Multiple    bool
}

// ID returns BasicAckID.
func (m *BasicAck) ID() ID { return BasicAckID }

// Append appends the encoded method to b.
func (m *BasicAck) Append(b []byte) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(BasicAckID))
	b = binary.BigEndian.AppendUint64(b, m.DeliveryTag)
	b = append(b, bit(m.Multiple, 0))
	return b
}

// Decode reads the method's arguments.
func (m *BasicAck) Decode(args []byte) error {
	r := reader{b: args}
	m.DeliveryTag = r.longlong()
	bits := r.octet()
	m.Multiple = bits&(1<<0) != 0
	return r.end()
}

// BasicReject is basic.reject.
type BasicReject struct {
	DeliveryTag uint64
	Requeue     bool
}

// ID returns BasicRejectID.
func (m *BasicReject) ID() ID { return BasicRejectID }

// Append appends the encoded method to b.
func (m *BasicReject) Append(b []byte) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(BasicRejectID))
	b = binary.BigEndian.AppendUint64(b, m.DeliveryTag)
	b = append(b, bit(m.Requeue, 0))
	return b
}

// Decode reads the method's arguments.
func (m *BasicReject) Decode(args []byte) error {
	r := reader{b: args}
	m.DeliveryTag = r.longlong()
	bits := r.octet()
	m.Requeue = bits&(1<<0) != 0
	return r.end()
}

// BasicRecoverAsync is basic.recover-async.
type BasicRecoverAsync struct {
	Requeue bool
}

// ID returns BasicRecoverAsyncID.
func (m *BasicRecoverAsync) ID() ID { return BasicRecoverAsyncID }

// Append appends the encoded method to b.
func (m *BasicRecoverAsync) Append(b []byte) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(BasicRecoverAsyncID))
	b = append(b, bit(m.Requeue, 0))
	return b
}

// Decode reads the method's arguments.
func (m *BasicRecoverAsync) Decode(args []byte) error {
	r := reader{b: args}
	bits := r.octet()
	m.Requeue = bits&(1<<0) != 0
	return r.end()
}

// BasicRecover is basic.recover.
type BasicRecover struct {
	Requeue bool
}

// ID returns BasicRecoverID.
func (m *BasicRecover) ID() ID { return BasicRecoverID }

// Append appends the encoded method to b.
func (m *BasicRecover) Append(b []byte) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(BasicRecoverID))
	b = append(b, bit(m.Requeue, 0))
	return b
}

// Decode reads the method's arguments.
func (m *BasicRecover) Decode(args []byte) error {
	r := reader{b: args}
	bits := r.octet()
	m.Requeue = bits&(1<<0) != 0
	return r.end()
}

// BasicRecoverOK is basic.recover-ok.
type BasicRecoverOK struct {
}

// ID returns BasicRecoverOKID.
func (m *BasicRecoverOK) ID() ID { return BasicRecoverOKID }

// Append appends the encoded method to b.
func (m *BasicRecoverOK) Append(b []byte) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(BasicRecoverOKID))
	return b
}

// Decode reads the method's arguments.
func (m *BasicRecoverOK) Decode(args []byte) error {
	r := reader{b: args}
	return r.end()
}

// BasicNack is basic.nack.
type BasicNack struct {
	DeliveryTag uint64
	Multiple    bool
	Requeue     bool
}

// ID returns BasicNackID.
func (m *BasicNack) ID() ID { return BasicNackID }

// Append appends the encoded method to b.
func (m *BasicNack) Append(b []byte) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(BasicNackID))
	b = binary.BigEndian.AppendUint64(b, m.DeliveryTag)
	b = append(b, bit(m.Multiple, 0)|bit(m.Requeue, 1))
	return b
}

// Decode reads the method's arguments.
func (m *BasicNack) Decode(args []byte) error {
	r := reader{b: args}
	m.DeliveryTag = r.longlong()
	bits := r.octet()
	m.Multiple = bits&(1<<0) != 0
	m.Requeue = bits&(1<<1) != 0
	return r.end()
}

// TxSelect is tx.select.
type TxSelect struct {
}

// ID returns TxSelectID.
func (m *TxSelect) ID() ID { return TxSelectID }

// Append appends the encoded method to b.
func (m *TxSelect) Append(b []byte) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(TxSelectID))
	return b
}

// Decode reads the method's arguments.
func (m *TxSelect) Decode(args []byte) error {
	r := reader{b: args}
	return r.end()
}

// TxSelectOK is tx.select-ok.
type TxSelectOK struct {
}

// ID returns TxSelectOKID.
func (m *TxSelectOK) ID() ID { return TxSelectOKID }

// Append appends the encoded method to b.
func (m *TxSelectOK) Append(b []byte) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(TxSelectOKID))
	return b
}

// Decode reads the method's arguments.
func (m *TxSelectOK) Decode(args []byte) error {
	r := reader{b: args}
	return r.end()
}

// TxCommit is tx.commit.
type TxCommit struct {
}

// ID returns TxCommitID.
func (m *TxCommit) ID() ID { return TxCommitID }

// Append appends the encoded method to b.
func (m *TxCommit) Append(b []byte) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(TxCommitID))
	return b
}

// Decode reads the method's arguments.
func (m *TxCommit) Decode(args []byte) error {
	r := reader{b: args}
	return r.end()
}

// TxCommitOK is tx.commit-ok.
type TxCommitOK struct {
}

// ID returns TxCommitOKID.
func (m *TxCommitOK) ID() ID { return TxCommitOKID }

// Append appends the encoded method to b.
func (m *TxCommitOK) Append(b []byte) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(TxCommitOKID))
	return b
}

// Decode reads the method's arguments.
func (m *TxCommitOK) Decode(args []byte) error {
	r := reader{b: args}
	return r.end()
}

// TxRollback is tx.rollback.
type TxRollback struct {
}

// ID returns TxRollbackID.
func (m *TxRollback) ID() ID { return TxRollbackID }

// Append appends the encoded method to b.
func (m *TxRollback) Append(b []byte) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(TxRollbackID))
	return b
}

// Decode reads the method's arguments.
func (m *TxRollback) Decode(args []byte) error {
	r := reader{b: args}
	return r.end()
}

// TxRollbackOK is tx.rollback-ok.
type TxRollbackOK struct {
}

// ID returns TxRollbackOKID.
func (m *TxRollbackOK) ID() ID { return TxRollbackOKID }

// Append appends the encoded method to b.
func (m *TxRollbackOK) Append(b []byte) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(TxRollbackOKID))
	return b
}

// Decode reads the method's arguments.
func (m *TxRollbackOK) Decode(args []byte) error {
	r := reader{b: args}
	return r.end()
}

// ConfirmSelect is confirm.select.
type ConfirmSelect struct {
	NoWait bool
}

// ID returns ConfirmSelectID.
func (m *ConfirmSelect) ID() ID { return ConfirmSelectID }

// Append appends the encoded method to b.
func (m *ConfirmSelect) Append(b []byte) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(ConfirmSelectID))
	b = append(b, bit(m.NoWait, 0))
	return b
}

// Decode reads the method's arguments.
func (m *ConfirmSelect) Decode(args []byte) error {
	r := reader{b: args}
	bits := r.octet()
	m.NoWait = bits&(1<<0) != 0
	return r.end()
}

// ConfirmSelectOK is confirm.select-ok.
type ConfirmSelectOK struct {
}

// ID returns ConfirmSelectOKID.
func (m *ConfirmSelectOK) ID() ID { return ConfirmSelectOKID }

// Append appends the encoded method to b.
func (m *ConfirmSelectOK) Append(b []byte) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(ConfirmSelectOKID))
	return b
}

// Decode reads the method's arguments.
func (m *ConfirmSelectOK) Decode(args []byte) error {
	r := reader{b: args}
	return r.end()
}

// AccessRequest is access.request.
type AccessRequest struct {
	Realm     string
	Exclusive bool
	Passive   bool
	Active    bool
	Write     bool
	Read      bool
}

// ID returns AccessRequestID.
func (m *AccessRequest) ID() ID { return AccessRequestID }

// Append appends the encoded method to b.
func (m *AccessRequest) Append(b []byte) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(AccessRequestID))
	b = appendShortstr(b, m.Realm)
	b = append(b, bit(m.Exclusive, 0)|bit(m.Passive, 1)|bit(m.Active, 2)|bit(m.Write, 3)|bit(m.Read, 4))
	return b
}

// Decode reads the method's arguments.
func (m *AccessRequest) Decode(args []byte) error {
	r := reader{b: args}
	m.Realm = string(r.shortstr())
	bits := r.octet()
	m.Exclusive = bits&(1<<0) != 0
	m.Passive = bits&(1<<1) != 0
	m.Active = bits&(1<<2) != 0
	m.Write = bits&(1<<3) != 0
	m.Read = bits&(1<<4) != 0
	return r.end()
}

// AccessRequestOK is access.request-ok.
type AccessRequestOK struct {
	Ticket uint16
}

// ID returns AccessRequestOKID.
func (m *AccessRequestOK) ID() ID { return AccessRequestOKID }

// Append appends the encoded method to b.
func (m *AccessRequestOK) Append(b []byte) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(AccessRequestOKID))
	b = binary.BigEndian.AppendUint16(b, m.Ticket)
	return b
}

// Decode reads the method's arguments.
func (m *AccessRequestOK) Decode(args []byte) error {
	r := reader{b: args}
	m.Ticket = r.short()
	return r.end()
}
