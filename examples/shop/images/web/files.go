package main

import (
	"crypto/sha512"
	"encoding/binary"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const (
	smallFiles   = 400
	sparseSize   = 64 << 20
	nameLimit    = 255
	deepLevels   = 12
	xattrPayload = 2000
)

// tree builds the awkward files below one directory. The first error stops it:
// every method does nothing after that.
type tree struct {
	root string
	err  error
}

// fillFiles makes the same tree on every run. It begins with an empty volume,
// so a killed Job can simply run again. Times come last, deepest first, because
// making an entry changes its directory's time.
func fillFiles(root string) error {
	t := &tree{root: root}
	t.empty()
	t.links()
	t.names()
	t.modes()
	t.sparse()
	t.attributes()
	t.many()
	t.own(".", 0, 2000, 0o2775)
	t.times()
	if t.err != nil {
		return t.err
	}
	lines, err := listing(root)
	if err != nil {
		return err
	}
	unix.Sync()
	fmt.Printf("%d entries in %s\n", len(lines), root)
	return nil
}

func (t *tree) path(name string) string { return filepath.Join(t.root, name) }

func (t *tree) do(what, name string, err error) {
	if t.err == nil && err != nil {
		t.err = fmt.Errorf("%s %q: %w", what, name, err)
	}
}

func (t *tree) dir(name string) {
	if t.err == nil {
		t.do("mkdir", name, os.MkdirAll(t.path(name), 0o755))
	}
}

func (t *tree) file(name string, content []byte) {
	if t.err == nil {
		t.do("write", name, os.WriteFile(t.path(name), content, 0o644))
	}
}

func (t *tree) link(target, name string) {
	if t.err == nil {
		t.do("symlink", name, os.Symlink(target, t.path(name)))
	}
}

func (t *tree) hardLink(old, name string) {
	if t.err == nil {
		t.do("link", name, os.Link(t.path(old), t.path(name)))
	}
}

// own sets the owner before the mode: a change of owner clears the setuid bit.
func (t *tree) own(name string, uid, gid int, mode uint32) {
	if t.err == nil {
		t.do("chown", name, os.Lchown(t.path(name), uid, gid))
		t.do("chmod", name, unix.Chmod(t.path(name), mode))
	}
}

func (t *tree) xattr(name, key string, value []byte) {
	if t.err == nil {
		t.do("set "+key+" on", name, unix.Lsetxattr(t.path(name), key, value, 0))
	}
}

func (t *tree) empty() {
	entries, err := os.ReadDir(t.root)
	t.do("read", ".", err)
	for _, entry := range entries {
		if entry.Name() != "lost+found" {
			t.do("remove", entry.Name(), os.RemoveAll(t.path(entry.Name())))
		}
	}
}

func (t *tree) links() {
	t.dir("links/elsewhere")
	t.file("links/one", []byte("three names, one file\n"))
	t.hardLink("links/one", "links/two")
	t.hardLink("links/one", "links/elsewhere/three")
	t.link("one", "links/relative")
	t.link("/etc/passwd", "links/absolute")
	t.link("../../outside/the/volume", "links/dangling")
	t.link("loop", "links/loop")
	t.link("elsewhere", "links/to-directory")
	t.link(strings.Repeat("long/", 600)+"end", "links/long-target")
}

func (t *tree) names() {
	t.dir("names")
	for _, name := range []string{
		"not-utf8-\xff\xfe\x80", "latin1-caf\xe9", "nfc-caf\u00e9", "nfd-cafe\u0301",
		"new\nline", "tab\there", "back\\slash", "quote'\"", "-rf", " leading and trailing ",
		"*?[x]", "%2e%2e", "..hidden", "CASE", "case", "\u6587\u5b57", "\U0001f980",
		strings.Repeat("n", nameLimit),
	} {
		t.file("names/"+name, []byte(name))
	}
	t.dir("names/directory-\xc3\x28")
	t.file("names/directory-\xc3\x28/inside", []byte("below a name that is not UTF-8\n"))
	t.dir("names/" + strings.Repeat("deep/", deepLevels))
}

func (t *tree) modes() {
	t.dir("modes/setgid-directory")
	t.dir("modes/sticky-directory")
	t.dir("modes/read-only-directory")
	t.dir("modes/private-directory")
	t.dir("modes/empty-directory")
	t.file("modes/read-only-directory/inside", []byte("in a directory nobody may write\n"))
	t.file("modes/private-directory/inside", []byte("in a directory only its owner may enter\n"))
	for _, name := range []string{"setuid", "setgid", "none", "owner-12345", "owner-nobody", "owner-largest"} {
		t.file("modes/"+name, []byte(name+"\n"))
	}
	t.file("modes/empty", nil)
	if t.err == nil {
		t.do("mkfifo", "modes/fifo", unix.Mkfifo(t.path("modes/fifo"), 0o620))
	}
	t.own("modes/setuid", 0, 2000, 0o4755)
	t.own("modes/setgid", 1234, 2000, 0o2755)
	t.own("modes/none", 1234, 1234, 0)
	t.own("modes/owner-12345", 12345, 54321, 0o640)
	t.own("modes/owner-nobody", 65534, 65534, 0o606)
	t.own("modes/owner-largest", 4294967294, 4294967294, 0o777)
	t.own("modes/fifo", 1234, 2000, 0o620)
	t.own("modes/setgid-directory", 0, 2000, 0o2775)
	t.own("modes/sticky-directory", 0, 0, 0o1777)
	t.own("modes/private-directory/inside", 1234, 1234, 0o400)
	t.own("modes/private-directory", 1234, 1234, 0o700)
	t.own("modes/read-only-directory", 1234, 2000, 0o555)
	t.do("chown", "links/relative", os.Lchown(t.path("links/relative"), 1234, 2000))
}

// sparse writes three islands into a sea of holes, one across a page boundary
// and one at the very end; and a file that is nothing but a hole.
func (t *tree) sparse() {
	t.dir("sparse")
	t.file("sparse/islands", nil)
	t.file("sparse/only-a-hole", nil)
	if t.err != nil {
		return
	}
	t.do("truncate", "sparse/only-a-hole", os.Truncate(t.path("sparse/only-a-hole"), sparseSize))
	t.do("write", "sparse/islands", writeIslands(t.path("sparse/islands"), sparseSize))
}

// writeIslands writes known bytes at odd places of a file or device of a given size.
func writeIslands(path string, size int64) error {
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer file.Close()
	for i, offset := range []int64{0, 1<<20 - 3, 17<<20 + 12345, size - 64} {
		block := sha512.Sum512([]byte{byte(i)})
		content := block[:]
		if offset+int64(len(block)) < size {
			for range 200 {
				block = sha512.Sum512(block[:])
				content = append(content, block[:]...)
			}
		}
		if _, err := file.WriteAt(content, offset); err != nil {
			return err
		}
	}
	return file.Sync()
}

func (t *tree) attributes() {
	t.dir("attributes/inheriting")
	t.file("attributes/user", []byte("with attributes of the user's\n"))
	t.file("attributes/acl", []byte("user 1234 may read this\n"))
	t.file("attributes/capability", []byte("may bind low ports\n"))
	t.xattr("attributes/user", "user.comment", []byte("a comment"))
	t.xattr("attributes/user", "user.empty", nil)
	t.xattr("attributes/user", "user.binary", []byte{0, 1, 2, 0xff})
	t.xattr("attributes/user", "user.large", []byte(strings.Repeat("x", xattrPayload)))
	t.xattr("attributes", "user.on-a-directory", []byte("yes"))
	t.own("attributes/capability", 0, 0, 0o755)
	t.xattr("attributes/acl", "system.posix_acl_access", acl())
	t.xattr("attributes/inheriting", "system.posix_acl_default", acl())
	t.xattr("attributes/capability", "security.capability", capability())
}

// acl is u::rw-, u:1234:r--, g::r--, m::r--, o::--- as the kernel stores it:
// version 2, then tag, permission and id of each entry (linux/posix_acl_xattr.h).
func acl() []byte {
	value := binary.LittleEndian.AppendUint32(nil, 2)
	for _, entry := range []struct {
		tag, permission uint16
		id              uint32
	}{{1, 6, ^uint32(0)}, {2, 4, 1234}, {4, 4, ^uint32(0)}, {16, 4, ^uint32(0)}, {32, 0, ^uint32(0)}} {
		value = binary.LittleEndian.AppendUint16(value, entry.tag)
		value = binary.LittleEndian.AppendUint16(value, entry.permission)
		value = binary.LittleEndian.AppendUint32(value, entry.id)
	}
	return value
}

// capability is cap_net_bind_service=ep as the kernel stores it: revision 2 with
// the effective bit, then permitted and inheritable, low and high words (linux/capability.h).
func capability() []byte {
	var value []byte
	for _, word := range []uint32{0x02000000 | 1, 1 << unix.CAP_NET_BIND_SERVICE, 0, 0, 0} {
		value = binary.LittleEndian.AppendUint32(value, word)
	}
	return value
}

func (t *tree) many() {
	for i := range smallFiles {
		dir := fmt.Sprintf("many/%02d", i%16)
		if i < 16 {
			t.dir(dir)
		}
		sum := sha512.Sum512(fmt.Appendf(nil, "file %d", i))
		content := strings.Repeat(fmt.Sprintf("%x", sum), 1+i%64)
		t.file(fmt.Sprintf("%s/%04d.txt", dir, i), []byte(content))
	}
}

// times gives each entry its own time to the nanosecond, some before 1970 and
// some after 2038, without following symbolic links.
func (t *tree) times() {
	if t.err != nil {
		return
	}
	var paths []string
	t.do("walk", ".", filepath.WalkDir(t.root, func(path string, entry fs.DirEntry, err error) error {
		if err == nil && entry.IsDir() && entry.Name() == "lost+found" {
			return fs.SkipDir
		}
		paths = append(paths, path)
		return err
	}))
	for i := len(paths) - 1; i >= 0 && t.err == nil; i-- {
		when := time.Date(2024, 1, 1, 0, 0, i, i*1_000_003%1_000_000_000, time.UTC)
		switch i % 10 {
		case 3:
			when = time.Date(1965, 5, 5, 5, 5, i%60, 500_000_000, time.UTC)
		case 7:
			when = time.Date(2101, 7, 7, 7, 7, i%60, 999_999_999, time.UTC)
		}
		stamp := unix.NsecToTimespec(when.UnixNano())
		both := []unix.Timespec{stamp, stamp}
		t.do("set the time of", paths[i], unix.UtimesNanoAt(unix.AT_FDCWD, paths[i], both, unix.AT_SYMLINK_NOFOLLOW))
	}
}

// fillRaw writes to a block device; what lies between the islands stays zero.
func fillRaw(device string) error {
	file, err := os.Open(device)
	if err != nil {
		return err
	}
	size, err := file.Seek(0, 2)
	if err != nil {
		return fmt.Errorf("measure %s: %w", device, err)
	}
	if err := file.Close(); err != nil {
		return err
	}
	if err := writeIslands(device, size); err != nil {
		return fmt.Errorf("write %s: %w", device, err)
	}
	fmt.Printf("%d bytes of %s\n", size, device)
	return nil
}
