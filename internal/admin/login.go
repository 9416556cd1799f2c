package admin

import (
	"context"
	"errors"
	"net"
	"net/http"

	"waybill/internal/auth"
)

type peerKey struct{}

// withPeer keeps the address of the connection's peer, as the socket has it.
func withPeer(ctx context.Context, c net.Conn) context.Context {
	return context.WithValue(ctx, peerKey{}, c.RemoteAddr())
}

// login lets a request pass that carries a user and the right password.
func (s *Server) login(next http.HandlerFunc) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		peer, _ := r.Context().Value(peerKey{}).(net.Addr)
		user, password, ok := r.BasicAuth()
		if !ok {
			refuse(w, http.StatusUnauthorized, "not_authorized", "log in with a user and a password (HTTP basic authentication)")
			return
		}
		switch err := s.cfg.Auth.Login("PLAIN", user, password, peer); {
		case err == nil:
			next(w, r)
		case errors.Is(err, auth.ErrThrottled):
			s.cfg.Logger.Warn("admin: login refused", "user", user, "peer", peer, "err", err)
			refuse(w, http.StatusTooManyRequests, "not_authorized", err.Error())
		default:
			s.cfg.Logger.Warn("admin: login refused", "user", user, "peer", peer, "err", err)
			refuse(w, http.StatusUnauthorized, "not_authorized", err.Error())
		}
	})
}

// refuse answers with an error in the form of RabbitMQ's API.
func refuse(w http.ResponseWriter, status int, name, reason string) {
	if status == http.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", `Basic realm="Waybill"`)
	}
	writeJSON(w, status, map[string]string{"error": name, "reason": reason})
}
