/** The longest wait between two attempts to connect, in milliseconds. */
export const longest = 30_000;

/**
 * How long to wait before attempt n (0 is the first repeat): anything up to twice as long as before, so that many browsers
 * that lost the server together do not come back together.
 * @param random a number of [0, 1)
 * @param least a wait that the server asked for, in milliseconds
 */
export function backoff(n: number, random: number, least = 0): number {
  const most = Math.min(longest, 500 * 2 ** Math.min(n, 10));
  return least + Math.round(150 + random * most);
}
