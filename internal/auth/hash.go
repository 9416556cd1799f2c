package auth

import (
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

const (
	scheme            = "pbkdf2-sha256"
	defaultIterations = 600_000 // OWASP's figure of 2023 for PBKDF2 with SHA-256
	minIterations     = 10_000
	maxIterations     = 10_000_000
	minSalt           = 8 // bytes
	saltLen           = 16
)

// ErrHash is returned for text that is not a password hash.
var ErrHash = errors.New(`not a password hash; make one with "waybill hash-password"`)

// ErrBlank is returned for a blank password.
var ErrBlank = errors.New("a blank password is not accepted")

// guestHash is the hash of the word guest. It is no secret, so the salt may
// stand in the source.
const guestHash = "$pbkdf2-sha256$i=600000$d2F5YmlsbC5ndWVzdC4uLg$v7FO0st6xwsYmrsCi4LcM6leyckTcq2Ogznve1A7dgw"

// hash is a user's password, as PBKDF2 with HMAC-SHA-256 left it. Its text, in the PHC
// string format:
//
//	$pbkdf2-sha256$i=<iterations>$<salt>$<key>     (unpadded base64)
type hash struct {
	iterations int
	salt       []byte
	key        [sha256.Size]byte
}

// HashPassword returns the text under which a password is kept in the
// configuration; [ErrBlank] for a blank one.
func HashPassword(password string) (string, error) {
	if strings.TrimSpace(password) == "" {
		return "", ErrBlank
	}
	salt := make([]byte, saltLen)
	rand.Read(salt) // never fails, as documented
	return hashWith(password, salt, defaultIterations)
}

func hashWith(password string, salt []byte, iterations int) (string, error) {
	key, err := pbkdf2.Key(sha256.New, password, salt, iterations, sha256.Size)
	if err != nil {
		return "", err
	}
	b64 := base64.RawStdEncoding
	return fmt.Sprintf("$%s$i=%d$%s$%s", scheme, iterations, b64.EncodeToString(salt), b64.EncodeToString(key)), nil
}

func parseHash(text string) (*hash, error) {
	part := strings.Split(text, "$")
	if len(part) != 5 || part[0] != "" || part[1] != scheme {
		return nil, ErrHash
	}
	digits, ok := strings.CutPrefix(part[2], "i=")
	iterations, err := strconv.Atoi(digits)
	if !ok || err != nil || iterations < minIterations || iterations > maxIterations {
		return nil, fmt.Errorf("%w (iterations %q, from %d to %d)", ErrHash, part[2], minIterations, maxIterations)
	}
	salt, err := base64.RawStdEncoding.DecodeString(part[3])
	if err != nil || len(salt) < minSalt {
		return nil, fmt.Errorf("%w (salt)", ErrHash)
	}
	key, err := base64.RawStdEncoding.DecodeString(part[4])
	if err != nil || len(key) != sha256.Size {
		return nil, fmt.Errorf("%w (key)", ErrHash)
	}
	return &hash{iterations: iterations, salt: salt, key: [sha256.Size]byte(key)}, nil
}

// newDecoy returns a hash that no password matches.
func newDecoy(iterations int) *hash {
	h := &hash{iterations: iterations, salt: make([]byte, saltLen)}
	rand.Read(h.salt)
	rand.Read(h.key[:])
	return h
}

// matches compares in constant time. It always takes cost iterations, so that
// the answer's time does not tell how expensive the hash is.
func (h *hash) matches(password string, cost int) bool {
	key, err := pbkdf2.Key(sha256.New, password, h.salt, h.iterations, sha256.Size)
	if rest := cost - h.iterations; rest > 0 {
		// Its result is of no use; an error would have been one above, too.
		_, _ = pbkdf2.Key(sha256.New, password, h.salt, rest, sha256.Size)
	}
	return err == nil && hmac.Equal(key, h.key[:])
}
