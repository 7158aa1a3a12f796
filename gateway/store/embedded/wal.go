package embedded

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"strconv"
	"strings"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// Pebble takes an invalid record for the torn end of its log unless a later 32 KiB block promises that this place was
// synced. Damage in the last block it would therefore cut off in silence, with all acknowledged commits behind it.
// checkLog looks within the block, too: it searches what follows the first invalid chunk for a valid one of the same log
// that makes that promise.
//
// A chunk of the log: checksum (4 bytes), length (2), type (1), number of the log (4), offset up to which the log was
// synced when the chunk was written (8), payload. A chunk does not cross a block.
const (
	walBlock  = 32 << 10
	walHeader = 19
	// Types of chunks that carry a synced offset: whole record, first, middle, last part.
	walWhole, walLast = 9, 12
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// errDamagedLog says that synced data of a log cannot be read.
var errDamagedLog = errors.New("damaged data in the middle of the log, nothing was skipped")

// checkLog returns errDamagedLog, with the file's name and the place, when the newest log of dir is damaged before its end.
func checkLog(fs vfs.FS, dir string) error {
	names, err := fs.List(dir)
	if err != nil {
		return err
	}
	name, number := "", uint64(0)
	for _, n := range names {
		digits, ok := strings.CutSuffix(n, ".log")
		v, err := strconv.ParseUint(digits, 10, 32)
		if ok && err == nil && v >= number {
			name, number = n, v
		}
	}
	if name == "" {
		return nil
	}
	b, err := readFile(fs, fs.PathJoin(dir, name))
	if err != nil {
		return fmt.Errorf("reading %s: %w", name, err)
	}
	if at, ok := damagedAt(b, uint32(number)); ok {
		return fmt.Errorf("%s, offset %d: %w", name, at, errDamagedLog)
	}
	return nil
}

// damagedAt returns where a log is damaged before its end.
func damagedAt(log []byte, number uint32) (at int, damaged bool) {
	at = firstInvalid(log, number)
	for p := at + 1; p+walHeader <= len(log); p++ {
		if c, ok := chunkAt(log, p); ok && c.log == number && c.synced > uint64(at) {
			return at, true
		}
	}
	return 0, false
}

// firstInvalid returns the offset of the first chunk that is none: the end of the log, torn or not, or damage.
func firstInvalid(log []byte, number uint32) int {
	p := 0
	for p < len(log) {
		if rest := walBlock - p%walBlock; rest < walHeader {
			p += rest // no chunk fits here
			continue
		}
		c, ok := chunkAt(log, p)
		if !ok || c.log != number {
			break
		}
		p += c.size
	}
	return min(p, len(log))
}

type chunk struct {
	size   int // with its header
	log    uint32
	synced uint64
}

func chunkAt(log []byte, p int) (c chunk, ok bool) {
	if p+walHeader > len(log) {
		return c, false
	}
	h := log[p:]
	if h[6] < walWhole || h[6] > walLast {
		return c, false
	}
	c.size = walHeader + int(binary.LittleEndian.Uint16(h[4:]))
	if c.size > len(h) || p%walBlock+c.size > walBlock {
		return c, false
	}
	sum := crc32.Checksum(h[6:c.size], castagnoli)
	if binary.LittleEndian.Uint32(h) != (sum>>15|sum<<17)+0xa282ead8 {
		return c, false
	}
	c.log, c.synced = binary.LittleEndian.Uint32(h[7:]), binary.LittleEndian.Uint64(h[11:])
	return c, true
}

func readFile(fs vfs.FS, name string) ([]byte, error) {
	f, err := fs.Open(name)
	if err != nil {
		return nil, err
	}
	b, err := io.ReadAll(f)
	return b, errors.Join(err, f.Close())
}
