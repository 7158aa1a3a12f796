package s3

import (
	"crypto/md5"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"hash"
	"io"
	"os"
)

// spool holds a sealed file until its name is known, and the sums of its parts. It is in memory at first.
type spool struct {
	dir    string
	memory int
	part   int64

	mem  []byte
	file *os.File
	size int64

	sums     []sums // of whole parts
	md5, sha hash.Hash
	inPart   int64
}

// sums are those of a part, in the forms that requests want.
type sums struct{ md5, sha string }

func (b *Bucket) newSpool() *spool {
	return &spool{dir: b.o.Spool, memory: b.o.Memory, part: b.o.Part, md5: md5.New(), sha: sha256.New()}
}

// Write implements io.Writer.
func (s *spool) Write(b []byte) (int, error) {
	if s.file == nil && s.size+int64(len(b)) > int64(s.memory) {
		if err := s.toFile(); err != nil {
			return 0, fmt.Errorf("keeping a file on its way to the bucket: %w", err)
		}
	}
	if s.file == nil {
		s.mem = append(s.mem, b...)
	} else if _, err := s.file.Write(b); err != nil {
		return 0, fmt.Errorf("keeping a file on its way to the bucket: %w", err)
	}
	s.size += int64(len(b))
	for rest := b; len(rest) > 0; {
		n := min(int64(len(rest)), s.part-s.inPart)
		s.md5.Write(rest[:n])
		s.sha.Write(rest[:n])
		rest = rest[n:]
		if s.inPart += n; s.inPart == s.part {
			s.endPart()
		}
	}
	return len(b), nil
}

// toFile goes on in a file. It has no name from the start: nothing is left of it when the process dies.
func (s *spool) toFile() error {
	f, err := os.CreateTemp(s.dir, "turnout-upload-")
	if err != nil {
		return err
	}
	s.file = f
	if err := os.Remove(f.Name()); err != nil {
		return err
	}
	_, err = f.Write(s.mem)
	s.mem = nil
	return err
}

func (s *spool) endPart() {
	s.sums = append(s.sums, sums{base64.StdEncoding.EncodeToString(s.md5.Sum(nil)), hex.EncodeToString(s.sha.Sum(nil))})
	s.md5.Reset()
	s.sha.Reset()
	s.inPart = 0
}

// end ends the last part, and returns the sums of all: at least one.
func (s *spool) end() []sums {
	if s.inPart > 0 || len(s.sums) == 0 {
		s.endPart()
	}
	return s.sums
}

// of returns part i and its length. It can be read again from its beginning.
func (s *spool) of(i int) (*io.SectionReader, int64) {
	at := int64(i) * s.part
	n := min(s.part, s.size-at)
	return io.NewSectionReader(s, at, n), n
}

// ReadAt implements io.ReaderAt.
func (s *spool) ReadAt(b []byte, at int64) (int, error) {
	if s.file != nil {
		return s.file.ReadAt(b, at)
	}
	if at >= int64(len(s.mem)) {
		return 0, io.EOF
	}
	n := copy(b, s.mem[at:])
	if n < len(b) {
		return n, io.EOF
	}
	return n, nil
}

// close lets go of what the spool holds.
func (s *spool) close() {
	if s.file != nil {
		_ = s.file.Close() // it has no name, and what was read of it was checked by its sums
	}
}
