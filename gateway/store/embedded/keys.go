package embedded

import (
	"bytes"
	"encoding/base32"
	"encoding/binary"
	"strings"

	"turnout/gateway/id"
	"turnout/gateway/store"
)

// Keys. The first byte is the space; within the tenants' space the tenant comes next. A tenant's name and a
// conversation's id hold no zero byte, so a zero ends them.
//
//	G <name>                                      the store's own: layout, root check, dedupe generation, and the one up to
//	                                              which a copy has brought ids whose hash is cut short
//	G e|f|r <tenant> 0 <conversation> 0 <blob>    what was erased, detached or taken away and is to be scrubbed
//	K t <tenant>                                  wrapped keys of a tenant
//	K c <tenant> 0 <conversation>                 wrapped data key of a conversation
//	K r <tenant> 0 <kind> 0 <id>                  records, sealed under the tenant's key
//	T <tenant> 0 c <conversation> 0 s             state row
//	                                l <seq be64>  log: the events of a step from seq on, sealed; their span in the clear
//	                                a <n be64>    audit entries of a step from n on
//	                                b             tombstone of an erased conversation, in the place of all that follows
//	                                f <id>        attachment, sealed
//	                                o <ord be64>  outbox row, sealed
//	T <tenant> 0 i <hash>                         identity: address -> conversation
//	T <tenant> 0 n <key>                      answer to a request with an idempotency key
//	T <tenant> 0 p <kind> <hash> <ms be64> <conv> access path
//	T <tenant> 0 m <chain>                        the chain grew since the last checkpoint
//	T <tenant> 0 u <n be64>, h                    the tenant's own chain and its head
//	T <tenant> 0 k <n be64>, w                    checkpoints, and up to which copies are outside
//	T <tenant> 0 D <ms be64> <row>, E <row>       dead letters, and where a row's is
//	T <tenant> 0 v <doc> 0 <n be32>               versions, sealed under the tenant's key
//	d <generation be32> <hash>                    dedupe; the hash is keyed by tenant, the generation is dropped as a range
//	x <kind> <ms be64> <tenant> 0 <conv> [0 name] obligations: r work, t timer, o outbox, q with people;
//	                                              the name is the timer's, or the channel's whose outbox it is;
//	                                              r stays for a while after the work
//
// Wrapped keys have a space of their own so that erasure can rewrite it without touching the content.
const (
	spaceGlobal = 'G'
	spaceKey    = 'K'
	spaceTenant = 'T'
	spaceDedupe = 'd'
	spaceIndex  = 'x'

	kindState      = 's'
	kindLog        = 'l'
	kindAudit      = 'a'
	kindAttachment = 'f'
	kindOutbox     = 'o'

	dueWork   = 'r'
	dueTimer  = 't'
	dueOutbox = 'o'
	dueQueue  = 'q'
)

// keySize is room for most keys, so that building one does not grow it.
const keySize = 96

func tenantKey(t string, kind byte) []byte {
	k := make([]byte, 0, keySize)
	k = append(k, spaceTenant)
	k = append(k, t...)
	return append(k, 0, kind)
}

// conversationKey is the prefix of all rows of a conversation; a kind and its rest follow.
func conversationKey(r store.Ref) []byte {
	return appendConversationKey(make([]byte, 0, keySize), r)
}

func appendConversationKey(k []byte, r store.Ref) []byte {
	k = append(k, spaceTenant)
	k = append(k, r.Tenant.Name()...)
	k = append(k, 0, 'c')
	k = append(k, r.ID...)
	return append(k, 0)
}

// rowKey appends a kind and a number to a conversation's prefix, without touching the prefix.
func rowKey(prefix []byte, kind byte, n uint64) []byte {
	k := append(prefix[:len(prefix):len(prefix)], kind)
	return binary.BigEndian.AppendUint64(k, n)
}

func kindKey(prefix []byte, kind byte) []byte {
	return append(prefix[:len(prefix):len(prefix)], kind)
}

func dataKeyKey(r store.Ref) []byte {
	k := append(make([]byte, 0, keySize), spaceKey, 'c')
	k = append(k, r.Tenant.Name()...)
	return append(append(k, 0), r.ID...)
}

func indexKey(kind byte, ms int64, r store.Ref, name string) []byte {
	k := append(make([]byte, 0, keySize), spaceIndex, kind)
	k = binary.BigEndian.AppendUint64(k, uint64(ms))
	k = append(k, r.Tenant.Name()...)
	k = append(append(k, 0), r.ID...)
	if name != "" {
		k = append(append(k, 0), name...)
	}
	return k
}

// parseIndexKey reads what indexKey wrote.
func parseIndexKey(k []byte) (kind byte, ms int64, r store.Ref, name string, ok bool) {
	if len(k) < 10 || k[0] != spaceIndex {
		return 0, 0, store.Ref{}, "", false
	}
	kind, ms = k[1], int64(binary.BigEndian.Uint64(k[2:]))
	tenant, rest, ok := strings.Cut(string(k[10:]), "\x00")
	if !ok {
		return 0, 0, store.Ref{}, "", false
	}
	conv, name, _ := strings.Cut(rest, "\x00")
	t, err := store.NewTenant(tenant)
	if err != nil {
		return 0, 0, store.Ref{}, "", false
	}
	return kind, ms, store.Ref{Tenant: t, ID: conv}, name, true
}

// parseStateKey returns the conversation of a state row's key; ok is false for any other key.
func parseStateKey(k []byte) (r store.Ref, ok bool) {
	tenant, rest, ok := bytes.Cut(k[1:], []byte{0})
	if !ok || len(rest) < 2 || rest[0] != 'c' || rest[len(rest)-1] != kindState || rest[len(rest)-2] != 0 {
		return store.Ref{}, false
	}
	conv := string(rest[1 : len(rest)-2])
	if _, err := id.Partition(id.Conversation, conv); err != nil {
		return store.Ref{}, false
	}
	t, err := store.NewTenant(string(tenant))
	if err != nil {
		return store.Ref{}, false
	}
	return store.Ref{Tenant: t, ID: conv}, true
}

// after is the smallest key above every key with the prefix.
func after(prefix []byte) []byte {
	k := bytes.Clone(prefix)
	for i := len(k) - 1; i >= 0; i-- {
		if k[i]++; k[i] != 0 {
			return k[:i+1]
		}
	}
	return nil
}

var idLetters = base32.NewEncoding("0123456789abcdefghjkmnpqrstvwxyz").WithPadding(base32.NoPadding)

// born returns the milliseconds that a valid id carries.
func born(v string) uint64 {
	var b [16]byte
	if len(v) != 28 {
		return 0
	}
	if _, err := idLetters.Decode(b[:], []byte(v[2:])); err != nil {
		return 0
	}
	return binary.BigEndian.Uint64(b[:8]) << 10 >> 16
}

func be64(k []byte, v uint64) []byte { return binary.BigEndian.AppendUint64(k, v) }
