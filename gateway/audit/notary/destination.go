package notary

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
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// Destination takes copies of checkpoints.
type Destination interface {
	// Send returns nil when the copy is there to stay. It may be called again with what is there already.
	Send(ctx context.Context, tenant string, number uint64, note []byte) error
}

// To returns the destination that a setting names: a URL (http, https) to which each checkpoint is posted; a folder, which
// ends in a slash or is one, that gets a file for each; else a file to which each is appended as a line of JSON. A relative
// path starts at dir.
func To(setting, dir string) (Destination, error) {
	if IsURL(setting) {
		u, err := url.Parse(setting)
		if err != nil || u.Host == "" || u.User != nil {
			return nil, errors.New("send_to is no URL to which something can be posted")
		}
		return &poster{url: setting, client: &http.Client{
			Transport: &http.Transport{Proxy: http.ProxyFromEnvironment, IdleConnTimeout: time.Minute},
			// What was moved must be seen to by whoever wrote the setting: a copy must not go where it was not meant to.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		}}, nil
	}
	path := setting
	if !filepath.IsAbs(path) {
		path = filepath.Join(dir, path)
	}
	if info, err := os.Stat(path); strings.HasSuffix(setting, "/") || err == nil && info.IsDir() {
		return folder{path}, nil
	}
	return appended{path}, nil
}

// IsURL reports whether a destination is a URL and no path.
func IsURL(setting string) bool {
	return strings.HasPrefix(setting, "http://") || strings.HasPrefix(setting, "https://")
}

// folder writes a file for each checkpoint, TENANT-NUMBER.checkpoint, and never replaces one.
type folder struct{ dir string }

// ErrOther says that there is another checkpoint of this number outside: one of the two histories was made anew.
var ErrOther = errors.New("there is another checkpoint of this number: the histories here and there differ")

func (f folder) Send(_ context.Context, tenant string, number uint64, note []byte) error {
	if err := os.MkdirAll(f.dir, 0o750); err != nil {
		return err
	}
	name := filepath.Join(f.dir, fmt.Sprintf("%s-%010d.checkpoint", tenant, number))
	if there, err := os.ReadFile(name); err == nil {
		if !bytes.Equal(there, note) {
			return fmt.Errorf("%s: %w", name, ErrOther)
		}
		return nil
	}
	tmp := name + ".tmp"
	if err := write(tmp, os.O_CREATE|os.O_TRUNC, note); err != nil {
		return err
	}
	if err := os.Rename(tmp, name); err != nil {
		return err
	}
	d, err := os.Open(f.dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// write writes and syncs a file.
func write(name string, flag int, b []byte) error {
	w, err := os.OpenFile(name, os.O_WRONLY|flag, 0o640)
	if err != nil {
		return err
	}
	_, err = w.Write(b)
	return errors.Join(err, w.Sync(), w.Close())
}

// appended appends to one file. It only ever appends, so that the file may be one that allows nothing else.
type appended struct{ file string }

func (a appended) Send(_ context.Context, _ string, _ uint64, note []byte) error {
	line, err := json.Marshal(struct {
		Note string `json:"checkpoint"`
	}{string(note)})
	if err != nil {
		return err
	}
	whole, err := endsWithLine(a.file)
	if err != nil {
		return err
	}
	if !whole { // a crash has torn the last one, which comes again now
		line = append([]byte{'\n'}, line...)
	}
	if err := os.MkdirAll(filepath.Dir(a.file), 0o750); err != nil {
		return err
	}
	return write(a.file, os.O_CREATE|os.O_APPEND, append(line, '\n'))
}

// endsWithLine reports whether a file is empty, missing, or ends with a line break.
func endsWithLine(file string) (bool, error) {
	f, err := os.Open(file)
	if errors.Is(err, os.ErrNotExist) {
		return true, nil
	}
	if err != nil {
		return false, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil || info.Size() == 0 {
		return err == nil, err
	}
	var last [1]byte
	if _, err := f.ReadAt(last[:], info.Size()-1); err != nil {
		return false, err
	}
	return last[0] == '\n', nil
}

// poster posts each checkpoint to a URL.
type poster struct {
	url    string
	client *http.Client
}

// BusyError says that the receiver wants to be left alone for a while.
type BusyError struct {
	Status     int
	RetryAfter time.Duration
}

func (e *BusyError) Error() string { return fmt.Sprintf("the receiver answered %d", e.Status) }

// maxRetryAfter bounds what a receiver can ask for.
const maxRetryAfter = time.Hour

func (p *poster) Send(ctx context.Context, tenant string, number uint64, note []byte) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, p.url, bytes.NewReader(note))
	if err != nil {
		return errors.New("building the request") // the URL may hold a token
	}
	req.Header.Set("Content-Type", "text/plain; charset=utf-8")
	req.Header.Set("Idempotency-Key", fmt.Sprintf("%s/%d", tenant, number))
	res, err := p.client.Do(req)
	if err != nil {
		var u *url.Error
		if errors.As(err, &u) {
			err = u.Err
		}
		return fmt.Errorf("posting: %w", err)
	}
	defer res.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(res.Body, 64<<10)) // so that the connection can be used again
	if res.StatusCode/100 == 2 {
		return nil
	}
	busy := &BusyError{Status: res.StatusCode}
	if s, err := strconv.Atoi(res.Header.Get("Retry-After")); err == nil && s > 0 {
		busy.RetryAfter = min(time.Duration(s)*time.Second, maxRetryAfter)
	}
	return busy
}
