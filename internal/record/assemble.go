package record

import "encoding/binary"

// FinishMessage makes b, the stored form of a message without a body to which
// the body was appended, the stored form of the whole message. A front end
// that receives a body in pieces assembles the message in place with it.
func FinishMessage(b []byte) {
	binary.LittleEndian.PutUint32(b, uint32(len(b)-4))
}
