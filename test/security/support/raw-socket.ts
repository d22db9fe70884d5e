/**
 * What a program needs to speak on the runner's socket itself, as native code would: a prelude in JavaScript that programs of the
 * tampering tests begin with. It shares nothing with the runner but the file descriptor.
 */

/** Builds tars that no honest writer makes: `tarHeader`, `tarFile`, `tarEnd`, `pax`, `paxRecord`. */
export const TAR_BUILDER = `
  const tarHeader = ({ name, size = 0, type = "0", linkname = "", magic = "ustar\\0" + "00", sizeField, sum = 0 }) => {
    const block = Buffer.alloc(512);
    if (Buffer.isBuffer(name)) name.copy(block); else block.write(name, 0, 100);
    block.write("0000644\\0" + "0000000\\0" + "0000000\\0", 100, "latin1");
    if (Buffer.isBuffer(sizeField)) sizeField.copy(block, 124); else block.write(sizeField ?? size.toString(8).padStart(11, "0") + "\\0", 124, "latin1");
    block.write("00000000000\\0        ", 136, "latin1");
    block.write(type, 156, "latin1");
    block.write(linkname, 157, 100);
    block.write(magic, 257, "latin1");
    for (const byte of block) sum += byte;
    block.write(sum.toString(8).padStart(6, "0") + "\\0 ", 148, "latin1");
    return block;
  };
  const padded = (content) => Buffer.concat([content, Buffer.alloc((512 - (content.length % 512)) % 512)]);
  const tarFile = (name, content = "x", more = {}) =>
    Buffer.concat([tarHeader({ name, size: Buffer.byteLength(content), ...more }), padded(Buffer.from(content))]);
  const tarEnd = Buffer.alloc(1024);
  const pax = (records, type = "x") => tarFile("pax", records, { type });
  const paxRecord = (key, value) => {
    const rest = \` \${key}=\${value}\\n\`;
    let digits = 1;
    while (String(Buffer.byteLength(rest) + digits).length !== digits) digits++;
    return Buffer.byteLength(rest) + digits + rest;
  };
`;

/** Defines `fs`, `fd`, `write`, `frame`, `message`, `finished`, `denied`, `denial`, `readMessage`, `sendArchive`, `leave` and those of {@link TAR_BUILDER}. */
export const RAW_SOCKET = `
  const fs = require("node:fs");
  const fd = (() => {
    for (let n = 3; n < 256; n++) { try { if (fs.fstatSync(n).isSocket()) return n; } catch {} }
    throw new Error("no socket");
  })();
  const pause = (ms) => Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms);
  const patiently = (attempt) => {
    for (;;) { try { return attempt(); } catch (error) { if (error.code !== "EAGAIN") throw error; pause(1); } }
  };
  const write = (bytes) => { for (let done = 0; done < bytes.length; ) done += patiently(() => fs.writeSync(fd, bytes, done)); };
  const frame = (kind, payload) => {
    const body = Buffer.from(payload);
    const header = Buffer.alloc(5);
    header.writeUInt32BE(body.length, 0);
    header[4] = kind;
    return Buffer.concat([header, body]);
  };
  const message = (value) => frame(1, typeof value === "string" ? value : JSON.stringify(value));
  const rpc = (method, params) => message({ jsonrpc: "2.0", method, params });
  const finished = (result) => rpc("finished", { result, error: null, exitCode: 0 });
  const denied = (denials) => rpc("finished", { result: null, error: null, exitCode: 0, denials });
  const denial = (fields) => ({ reason: "not_writable", what: "forged", count: 1, ...fields });

  const readExactly = (length) => {
    const bytes = Buffer.alloc(length);
    for (let done = 0; done < length; ) {
      const count = patiently(() => fs.readSync(fd, bytes, done, length - done));
      if (count === 0) throw new Error("the service hung up");
      done += count;
    }
    return bytes;
  };
  const readMessage = () => JSON.parse(readExactly(readExactly(5).readUInt32BE(0)).toString());

  ${TAR_BUILDER}
  /** Ends the process at once, past the runner. */
  const leave = () => process.abort();
  /** Plays the runner to its end, with an archive of one's own. */
  const sendArchive = (bytes, skipped = [], counts = { not_a_file: 0, over_limit: 0, unreadable: 0 }) => {
    write(finished("forged"));
    const { marker } = readMessage().params;
    for (let at = 0; at < bytes.length; at += 262144) write(frame(2, bytes.subarray(at, at + 262144)));
    write(rpc("archived", { skipped, counts }));
    for (const output of [1, 2]) fs.writeSync(output, marker);
    leave();
  };
`;
