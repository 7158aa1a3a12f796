//go:build !linux

package bench

import (
	"os"
	"runtime"
	"syscall"
)

func syncData(f *os.File) error { return f.Sync() }

func inMemory(string) bool { return false }

func kernel() string { return runtime.GOOS }

func childAttributes() *syscall.SysProcAttr { return nil }
