package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"time"

	"github.com/spf13/pflag"
)

// urlEnv is the environment variable that keeps the URL, and so the password, off
// the command line.
const urlEnv = "WAYBILL_URL"

// maxAnswer bounds what is read of an answer.
const maxAnswer = 64 << 20

// apiClient asks a node over HTTP.
type apiClient struct {
	url     string
	timeout time.Duration
}

func (c *apiClient) flags(f *pflag.FlagSet) {
	def := "http://guest:guest@127.0.0.1:15672"
	if env := os.Getenv(urlEnv); env != "" {
		def = env
	}
	f.StringVar(&c.url, "url", def, "HTTP address of a node, any one, with user and password; also in "+urlEnv)
	f.Lookup("url").DefValue = "http://guest:guest@127.0.0.1:15672" // --help must not print a password
	f.DurationVar(&c.timeout, "timeout", 40*time.Second, "how long to wait for the answer")
}

// call sends a request with a JSON body, unless it is nil, and reads the answer
// into answer, unless that is nil.
func (c *apiClient) call(ctx context.Context, method, path string, body, answer any) error {
	base, err := url.Parse(c.url)
	if err != nil || base.Host == "" || base.Scheme != "http" && base.Scheme != "https" {
		return fmt.Errorf("%w: --url: a URL is needed, such as http://user:password@host:15672", errUsage)
	}
	var send io.Reader = http.NoBody
	if body != nil {
		data, err := json.Marshal(body)
		if err != nil {
			return err
		}
		send = bytes.NewReader(data)
	}
	user := base.User
	base.User = nil // not into an error's text
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, base.JoinPath(path).String(), send)
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	if user != nil {
		password, _ := user.Password()
		req.SetBasicAuth(user.Username(), password)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return fmt.Errorf("%w (is the node running there? --url names another one)", err)
	}
	defer resp.Body.Close() //nolint:errcheck // it was read
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return err
	}
	if resp.StatusCode >= http.StatusBadRequest {
		return refusal(resp.Status, data)
	}
	if answer == nil {
		return nil
	}
	if err := json.Unmarshal(data, answer); err != nil {
		return fmt.Errorf("%s does not answer as Waybill does: %w", base, err)
	}
	return nil
}

// refusal is what a node answered instead of doing it.
func refusal(status string, body []byte) error {
	var why struct {
		Reason string `json:"reason"`
	}
	if err := json.Unmarshal(body, &why); err != nil || why.Reason == "" {
		return errors.New(status)
	}
	return errors.New(why.Reason)
}
