package bench

import (
	"os"
	"syscall"
)

// syncData makes the file's data durable, and of its metadata only what is needed to read it back.
func syncData(f *os.File) error { return syscall.Fdatasync(int(f.Fd())) }

// inMemory reports whether a folder lies on a file system that is memory, where nothing is durable.
func inMemory(dir string) bool {
	const tmpfs, ramfs = 0x01021994, 0x858458f6
	var s syscall.Statfs_t
	if err := syscall.Statfs(dir, &s); err != nil {
		return false
	}
	return uint32(s.Type) == tmpfs || uint32(s.Type) == ramfs
}

func kernel() string {
	release, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if err != nil {
		return "linux"
	}
	return "linux " + string(release[:max(len(release)-1, 0)])
}

// childAttributes end a child when its parent has gone, however it went.
func childAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
}
