// Package live keeps connections open that have little to say: WebSockets and event streams of clients that mostly wait.
//
// What such a connection costs is what it holds while nothing happens, so here that is next to nothing:
//
//   - The server's own reader, writer and request are given back as soon as the request is answered (Take): a socket in
//     the form in which libraries hand it out keeps them, with a buffer as large as the largest head of a request.
//   - Whatever there is to say is said by a goroutine that begins when there is something and ends when there is no more
//     (Worker). Between the two there is one timer for all that is due by time.
//   - Who listens to a socket is a goroutine that waits for a few bytes and has called nothing else yet, so its stack is
//     the smallest there is. What arrives is read by another one, with buffers from a pool, and that one starts the next
//     to wait (Socket): a stack that has grown does not become small again while somebody waits on it.
//
// A client that takes nothing holds one frame, for as long as a write may take, and then its connection is closed.
package live
