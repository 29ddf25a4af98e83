/**
 * Turns a read-only image tree into a writable root filesystem with the Linux kernel's overlayfs: makes
 * the directories the mount needs, gives each exactly the mode, owner, group and SELinux label it must
 * have, mounts, and takes the mount away again.
 *
 * @example Render an app, write into it, and see the tree unchanged
 * ```ts
 * import { assert } from "@std/assert";
 * import { renderOverlay } from "@overlay/render";
 *
 * const dir = await Deno.makeTempDir();
 * await Deno.mkdir(`${dir}/image`);
 * await Deno.writeTextFile(`${dir}/image/hello`, "from the tree");
 * {
 *   await using app = await renderOverlay({
 *     lower: `${dir}/image`,
 *     pod: `${dir}/pod`,
 *     app: "web",
 *     options: ["userxattr"], // works without root too, in a user namespace
 *   });
 *   await Deno.writeTextFile(`${app.rootfs}/hello`, "from the app");
 * } // unmounted here; what the app wrote is kept in its upper
 * assert(await Deno.readTextFile(`${dir}/image/hello`) === "from the tree");
 *
 * await Deno.remove(dir, { recursive: true });
 * ```
 *
 * Path layout, plans and permissions are pure and require no permissions. Functions that
 * access the disk check their Deno permissions first, and name the missing ones.
 *
 * @module
 */
export { appLayout, podLayout, treeLayout } from "./lib/request/layout.ts";
export type { AppLayout, AppLayoutOptions, PodLayout, TreeLayout } from "./lib/request/layout.ts";
export type { AppLine, MountPlan } from "./lib/overlay/app_line.ts";
export { mountOptions, parseMountOptions } from "./lib/overlay/mount_config.ts";
export type { MountConfig } from "./lib/overlay/mount_config.ts";
export { formatMountLabel } from "./lib/overlay/mount_label.ts";
export { dropSetgid, makeDirectory, setGroup } from "./lib/system/directory.ts";
export { setLabel } from "./lib/system/selinux.ts";
export { planRender } from "./lib/plan/plan.ts";
export { planPod } from "./lib/plan/pod_plan.ts";
export type { Plan, PlanAction, PlanOptions, RenderPlan } from "./lib/plan/plan.ts";
export type {
  CopyOperation,
  DirectoryOperation,
  GroupOperation,
  LabelOperation,
  LikeMode,
  LinkOperation,
  LockOperation,
  LookOperation,
  ManifestOperation,
  MountOperation,
  MtabOperation,
  OpenOperation,
  Operation,
  RealOperation,
  RecordOperation,
  RequireOperation,
  ResetOperation,
  TouchOperation,
  TrustOperation,
  UnmountOperation,
  UseOperation,
  VolatileOperation,
} from "./lib/plan/operation.ts";
export type {
  CollectOperation,
  FreeOperation,
  GraceOperation,
  IdleOperation,
  KeepOperation,
  PathOperation,
  PutBackOperation,
  RemoveOperation,
  RmdirOperation,
  SetAsideOperation,
  UnusedOperation,
} from "./lib/plan/collect_operation.ts";
export type { ProfileName } from "./lib/request/profile.ts";
export type { LayoutName, OverlayMode, PullMode } from "./lib/request/names.ts";
export { permissionFlags } from "./lib/system/permissions.ts";
export { requiredPermissions } from "./lib/plan/required_permissions.ts";
export type { ProgramOptions } from "./lib/system/run.ts";
export type { RequiredPermissions } from "./lib/system/permissions.ts";
export type {
  AppOptions,
  PodApp,
  PodOptions,
  PodRequest,
  RenderRequest,
} from "./lib/request/options.ts";
export type { ChangeOptions, Reporter } from "./lib/system/change_options.ts";
export { prepareOverlay, renderOverlay } from "./lib/api/render.ts";
export type { Render, RenderedOverlay } from "./lib/api/render.ts";
export { preparePod, renderPod } from "./lib/api/render_pod.ts";
export type { PodRender, RenderedPod } from "./lib/api/render_pod.ts";
export { unmountOverlay, unmountPermissions, unmountPlan } from "./lib/api/unmount.ts";
export type { Unmounted } from "./lib/api/unmount.ts";
export { unmountPods, unmountPodsPlan } from "./lib/api/unmount_pods.ts";
export type { NotUnmounted, UnmountedPods } from "./lib/api/unmount_pods.ts";
export type { UnmountPodsRequest, UnmountRequest } from "./lib/request/unmount_request.ts";
export { resetOverlay, resetPlan } from "./lib/api/reset.ts";
export type { ResetPod, ResetRequest } from "./lib/api/reset.ts";
export { overlayStatus, statusPermissions } from "./lib/api/status.ts";
export { findDrift } from "./lib/api/find_drift.ts";
export type { PodDrift } from "./lib/api/find_drift.ts";
export type { Drift, OverlayStatus, StatusOptions, StatusRequest } from "./lib/api/status.ts";
export type { DiskUse } from "./lib/system/disk_use.ts";
export type { PodsRequest } from "./lib/pod/list.ts";
export { changesPermissions, overlayChanges } from "./lib/api/changes.ts";
export type { Change, ChangesOptions, ChangesRequest } from "./lib/api/changes.ts";
export { collectPermissions, collectPlan, collectPods } from "./lib/api/gc.ts";
export type { Collected, CollectPlan, Kept } from "./lib/plan/plan_collect.ts";
export type { CollectRequest } from "./lib/api/gc.ts";
export { undoCollect, undoPlan } from "./lib/api/undo.ts";
export type { Undone } from "./lib/api/undo.ts";
export { keepPlan, keepPod, unkeepPod } from "./lib/api/keep.ts";
export type { KeptPod } from "./lib/api/keep.ts";
export { diagnose } from "./lib/api/doctor.ts";
export type { Check } from "./lib/api/doctor_checks.ts";
export type { Diagnosis, DoctorRequest } from "./lib/api/doctor.ts";
export { restoreOverlays, restorePermissions, restorePlan } from "./lib/api/restore.ts";
export type { NotRestored, Restored, RestoreRequest } from "./lib/api/restore_run.ts";
export { runInOverlay } from "./lib/api/run_overlay.ts";
export type { RunningCommand, RunOptions, RunResult } from "./lib/api/run_overlay.ts";
export { runPermissions } from "./lib/api/run_permissions.ts";
export type { RunRequest } from "./lib/api/run_request.ts";
export type { NetworkName, RuntimeName } from "./lib/runtime/container.ts";
export type { ProcessRequest } from "./lib/runtime/compose.ts";
export type { Ended } from "./lib/runtime/run_process.ts";
export type { Streams } from "./lib/system/run.ts";
export { exportLayer } from "./lib/export/export_layer.ts";
export { exportRootfs } from "./lib/export/export_rootfs.ts";
export type { ArchiveRequest, Exported } from "./lib/export/export_layer.ts";
export { commitImage } from "./lib/export/commit_image.ts";
export type {
  CommitOptions,
  CommitRequest,
  CommittedImage,
  ImageRequest,
} from "./lib/export/commit_image.ts";
export type { PushedImage, PushedLayer, PushOptions, PushProgress } from "./lib/store/push_tree.ts";
export type { AccessOptions, RegistryRequest } from "./lib/store/registry_access.ts";
export type { Fetch } from "./lib/registry/http.ts";
export type { ImportedTree } from "./lib/store/import_options.ts";
export type { Descriptor } from "./lib/image/manifest.ts";
export { exportImage } from "./lib/export/export_image.ts";
export type { LayoutTarget } from "./lib/export/oci_layout.ts";
export type { ConfigChanges } from "./lib/image/commit_config.ts";
export type { AppChoice } from "./lib/export/find_app.ts";
export type { Output } from "./lib/export/send_to.ts";
export type { WrittenCompression } from "./lib/request/names.ts";
export { InterruptedError } from "./lib/core/interrupted.ts";
export {
  InvalidValueError,
  MissingPermissionError,
  MountError,
  OverlayError,
  PodError,
  RefusedError,
  UnmountError,
} from "./lib/core/errors.ts";
export type {
  AppFailureJson,
  ErrorChanges,
  ErrorCode,
  ErrorJson,
  OverlayErrorOptions,
  ProgramFailure,
} from "./lib/core/errors.ts";
