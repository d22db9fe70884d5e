import assert from "node:assert/strict";
import { formatGroups, parseGroups } from "../../../src/sandbox/docker/image/executable-groups.ts";

describe("Sandbox image: groups of executables", () => {
  it("come out of the label as they went in, whatever the order", () => {
    const groups = new Map([
      ["jq", [60_708]],
      ["/usr/lib/git-core", [60_707, 60_706]],
    ]);
    assert.equal(formatGroups(groups), '{"/usr/lib/git-core":[60707,60706],"jq":[60708]}');
    assert.deepEqual(parseGroups(formatGroups(groups), "image"), groups);
  });

  it("are none for an image without the label", () => {
    assert.deepEqual(parseGroups(undefined, "image"), new Map());
  });

  for (const label of ["", "{", "[]", '{"git":60706}', '{"git":[0]}', '{"git":[60705]}', '{"git":[61184]}', '{"":[60706]}']) {
    it(`are refused when the label is ${JSON.stringify(label)}`, () => {
      assert.throws(() => parseGroups(label, "image"), { reason: "unsafe_content", message: /The image image .* image build --refresh/s });
    });
  }
});
