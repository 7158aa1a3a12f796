// Package local opens Unix sockets that only the user of a process can use. A path may be longer than the 107 bytes that
// an address of such a socket holds, where the system has /proc (Linux).
package local

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
)

// Listen makes a socket at file with mode 0600 and listens on it. A socket that is there already is replaced: the caller
// knows that no other process serves it. Anything else that is there is left alone and an error. The folder is made when
// it is missing. Closing the listener removes the file.
func Listen(file string) (net.Listener, error) {
	dir := filepath.Dir(file)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	switch info, err := os.Lstat(file); {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return nil, err
	case info.Mode().Type() != fs.ModeSocket:
		return nil, fmt.Errorf("%s is there and is no socket; move it away", file)
	}
	// The socket is made where nobody else can reach it, and comes to its place when its mode is right.
	hidden, err := os.MkdirTemp(dir, ".socket-*")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(hidden)
	made := filepath.Join(hidden, "s")
	address, done, err := short(made)
	if err != nil {
		return nil, err
	}
	defer done()
	ln, err := net.ListenUnix("unix", &net.UnixAddr{Name: address, Net: "unix"})
	if err != nil {
		return nil, plain(file, err)
	}
	ln.SetUnlinkOnClose(false) // its address is not where the socket will be
	if err := errors.Join(os.Chmod(made, 0o600), os.Rename(made, file)); err != nil {
		return nil, errors.Join(err, ln.Close())
	}
	return &listener{Listener: ln, file: file}, nil
}

type listener struct {
	net.Listener
	file string
}

func (l *listener) Close() error {
	err := l.Listener.Close()
	if err == nil {
		_ = os.Remove(l.file) // a file that is left behind is replaced by the next Listen
	}
	return err
}

// Dial connects to the socket at file.
func Dial(ctx context.Context, file string) (net.Conn, error) {
	address, done, err := short(file)
	if err != nil {
		return nil, err
	}
	defer done()
	conn, err := new(net.Dialer).DialContext(ctx, "unix", address)
	if err != nil {
		return nil, plain(file, err)
	}
	return conn, nil
}

// longest is the most that every system takes as a socket's address.
const longest = 100

// short returns an address for file, by way of an open folder if its path is too long. done closes the folder.
func short(file string) (address string, done func(), err error) {
	if len(file) <= longest {
		return file, func() {}, nil
	}
	dir, err := os.Open(filepath.Dir(file))
	if err != nil {
		return "", nil, err
	}
	link := fmt.Sprintf("/proc/self/fd/%d", dir.Fd())
	if _, err := os.Stat(link); err != nil {
		return "", nil, errors.Join(fmt.Errorf("the path %s is longer than a socket's may be; choose a shorter data folder", file), dir.Close())
	}
	return filepath.Join(link, filepath.Base(file)), func() { dir.Close() }, nil
}

// plain names the file instead of the address.
func plain(file string, err error) error {
	var op *net.OpError
	if errors.As(err, &op) {
		err = op.Err
		var call *os.SyscallError
		if errors.As(err, &call) {
			err = call.Err
		}
	}
	return fmt.Errorf("%s: %w", file, err)
}
