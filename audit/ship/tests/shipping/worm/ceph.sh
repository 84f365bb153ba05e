#!/usr/bin/env bash
# A Ceph of one monitor, one store in memory and one gateway that speaks S3, until stdin ends.
# Usage: ceph.sh <folder the packages were unpacked in> <empty folder> <port of the monitor> <port of the gateway>
set -euo pipefail
root=$1 dir=$2 mon=$3 s3=$4
lib=$root/usr/lib/x86_64-linux-gnu
export PATH=$root/usr/bin:$root/usr/sbin:$PATH CEPH_CONF=$dir/ceph.conf PYTHONPATH=$root/usr/lib/python3/dist-packages
export LD_LIBRARY_PATH=$root/lib/x86_64-linux-gnu:$lib:$lib/ceph
trap 'kill $(jobs -p) 2>/dev/null || true; wait' EXIT

fsid=$(cat /proc/sys/kernel/random/uuid)
cat >"$CEPH_CONF" <<CONF
[global]
fsid = $fsid
mon_host = v2:127.0.0.1:$mon
mon_initial_members = a
public_addr = 127.0.0.1
# Nobody but this test can reach it; without keys nothing can be secret either.
auth_cluster_required = none
auth_service_required = none
auth_client_required = none
ms_bind_msgr1 = false
ms_mon_client_mode = crc
ms_mon_service_mode = crc
ms_mon_cluster_mode = crc
run_dir = $dir
admin_socket = $dir/\$name.asok
log_file = $dir/\$name.log
mon_cluster_log_file = $dir/cluster.log
crash_dir = $dir
keyring = $dir/keyring
mon_data = $dir/mon
osd_data = $dir/osd
rgw_data = $dir
osd_class_dir = $lib/rados-classes
erasure_code_dir = $lib/ceph/erasure-code
plugin_dir = $lib/ceph
osd_objectstore = memstore
memstore_device_bytes = 268435456
osd_pool_default_size = 1
osd_pool_default_min_size = 1
osd_pool_default_pg_num = 4
osd_pool_default_pgp_num = 4
osd_pool_default_pg_autoscale_mode = off
osd_crush_chooseleaf_type = 0
mon_allow_pool_size_one = true
# A monitor ends where a twentieth of the disk is free, however large that is.
mon_data_avail_warn = 0
mon_data_avail_crit = 0
# Who finds no monitor says so before anybody takes the test for one that hangs.
client_mount_timeout = 60
err_to_stderr = true
rgw_frontends = beast endpoint=127.0.0.1:$s3
CONF
printf '[client.rgw]\n\tkey = AQBSdFhRcBrxHBAAQ5n6sTzDAM1Zh1BGOS2d5w==\n' >"$dir/keyring"

ask() { # the monitor, each argument one command
  /usr/bin/python3 - "$@" <<'PY'
import os, rados, sys
cluster = rados.Rados(conffile=os.environ["CEPH_CONF"], rados_id="admin")
cluster.connect(timeout=30)
for command in sys.argv[1:]:
    code, _, said = cluster.mon_command(command, b"")
    assert code == 0, (command, said)
PY
}

mkdir "$dir/mon" "$dir/osd"
monmaptool --create --fsid "$fsid" --addv a "[v2:127.0.0.1:$mon]" "$dir/monmap"
ceph-mon --mkfs -i a --monmap "$dir/monmap"
ceph-mon -f -i a &
ask '{"prefix": "osd create"}'
ceph-osd -i 0 --mkfs
ceph-osd -f -i 0 &
ask '{"prefix": "osd crush add-bucket", "name": "h", "type": "host", "args": ["root=default"]}' \
  '{"prefix": "osd crush add", "id": 0, "weight": 1.0, "args": ["root=default", "host=h"]}'
radosgw -f -n client.rgw &
radosgw-admin user create --uid=test --display-name=test --access-key=test --secret-key=test >"$dir/user"
until (exec 3<>"/dev/tcp/127.0.0.1/$s3") 2>/dev/null; do sleep 0.2; done
echo ready
cat >/dev/null
