import { assertEquals } from "@std/assert";
import { GENERIC_OPTIONS, parseOptions } from "../../lib/request/mount_option.ts";
import { assertInvalid } from "../_invalid.ts";

Deno.test("parseOptions() takes the options of the list, apart or with commas between them", {
  permissions: "none",
}, () => {
  const table: readonly [values: string[], options: string[]][] = [
    [[], []],
    [["volatile"], ["volatile"]],
    [["volatile", "index=on"], ["volatile", "index=on"]],
    [["nodev,nosuid", "noexec"], ["nodev", "nosuid", "noexec"]],
    [
      ["userxattr,index=off,metacopy=off,nfs_export=off,redirect_dir=nofollow,xino=auto"],
      [
        "userxattr",
        "index=off",
        "metacopy=off",
        "nfs_export=off",
        "redirect_dir=nofollow",
        "xino=auto",
      ],
    ],
    [["redirect_dir=follow"], ["redirect_dir=follow"]],
    [["xino=on"], ["xino=on"]],
  ];
  for (const [values, options] of table) assertEquals(parseOptions(values), options);
});

Deno.test("parseOptions() refuses everything else, and says what is allowed", {
  permissions: "none",
}, () => {
  const list = "one of volatile, userxattr, nodev, nosuid, noexec, index, metacopy";
  const table: readonly [values: string[], quoted: string, reason: string][] = [
    [[""], "", list],
    [["volatile,"], "", list],
    [["ro"], "ro", "a view has a flag of its own"],
    [["bind"], "bind", list],
    [["remount"], "remount", list],
    [["upperdir=/etc"], "upperdir=/etc", list],
    [["lowerdir+=/etc"], "lowerdir+=/etc", list],
    [["x-foo"], "x-foo", list],
    [["X-mount.mkdir"], "X-mount.mkdir", list],
    [["context=u:r:t"], "context=u:r:t", list],
    [["volatile nodev"], "volatile nodev", list],
    [["VOLATILE"], "VOLATILE", list],
    [["constructor"], "constructor", list],
    [["__proto__=on"], "__proto__=on", list],
    [["volatile=on"], "volatile=on", "takes no value"],
    [["volatile="], "volatile=", "takes no value"],
    [["index"], "index", "index=on or index=off"],
    [["index="], "index=", "index=on or index=off"],
    [["index=on=off"], "index=on=off", "index=on or index=off"],
    [["xino=yes"], "xino=yes", "xino=on or xino=off or xino=auto"],
    [["volatile", "volatile"], "volatile", "given twice"],
    [["index=on,index=off"], "index=off", "given twice"],
  ];
  for (const [values, quoted, reason] of table) {
    assertInvalid(() => parseOptions(values), quoted, reason);
  }
});

Deno.test("GENERIC_OPTIONS are options without a value", { permissions: "none" }, () => {
  assertEquals(parseOptions(GENERIC_OPTIONS), GENERIC_OPTIONS);
});
