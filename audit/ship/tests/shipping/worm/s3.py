"""What somebody with the account's keys may ask of a bucket, by boto3; one status a line.

Usage: s3.py <endpoint> <bucket> make <mode or none> <days>
       s3.py <endpoint> <bucket> lock <mode or none> <days>
       s3.py <endpoint> <bucket> lengthen <key>
       s3.py <endpoint> <bucket> shorten <key>
       s3.py <endpoint> <bucket> hold <key>
       s3.py <endpoint> <bucket> relock <key>
       s3.py <endpoint> <bucket> attack <key>
       s3.py <endpoint> <bucket> bypass <key>
       s3.py <endpoint> <bucket> cover <key to hide> <key to write over>
"""

import datetime
import sys

import boto3
from botocore.exceptions import ClientError

endpoint, bucket, command, *words = sys.argv[1:]
keys = {"aws_access_key_id": "test", "aws_secret_access_key": "test", "region_name": "us-east-1"}
s3 = boto3.client("s3", endpoint_url=endpoint, **keys)


def say(name, call, **arguments):
    try:
        answer = call(Bucket=bucket, **arguments)
        status = answer["ResponseMetadata"]["HTTPStatusCode"]
        # A bulk deletion succeeds and lists what it did not do.
        status = 403 if answer.get("Errors") else status
    except ClientError as error:
        status = error.response["ResponseMetadata"]["HTTPStatusCode"]
    print(f"{status} {name}")


def first(key):
    """The version of an object that was written first."""
    return s3.list_object_versions(Bucket=bucket, Prefix=key)["Versions"][-1]["VersionId"]


def lock(mode, days):
    """What the bucket does with objects from now on."""
    rule = {"DefaultRetention": {"Mode": mode, "Days": int(days)}}
    wish = {"ObjectLockEnabled": "Enabled"} | ({} if mode == "none" else {"Rule": rule})
    s3.put_object_lock_configuration(Bucket=bucket, ObjectLockConfiguration=wish)


def lengthen(key):
    until = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(days=400)
    kept = {"Mode": "COMPLIANCE", "RetainUntilDate": until}
    say("lengthen", s3.put_object_retention, Key=key, VersionId=first(key), Retention=kept)


def shorten(key):
    until = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(days=1)
    kept = {"Mode": "GOVERNANCE", "RetainUntilDate": until}
    one = {"Key": key, "VersionId": first(key)}
    say("shorten", s3.put_object_retention, **one, Retention=kept, BypassGovernanceRetention=True)


def relock(key):
    """Covers an object by a version of its own under the best of locks."""
    until = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(days=4000)
    kept = {"ObjectLockMode": "COMPLIANCE", "ObjectLockRetainUntilDate": until}
    body = s3.get_object(Bucket=bucket, Key=key)["Body"].read()
    say("write over", s3.put_object, Key=key, Body=body, **kept)


def attack(key):
    one = {"Key": key, "VersionId": first(key)}
    soon = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=60)
    long = soon + datetime.timedelta(days=400)
    say("delete the version", s3.delete_object, **one)
    say("delete it with bypass", s3.delete_object, **one, BypassGovernanceRetention=True)
    say("delete it in bulk", s3.delete_objects, Delete={"Objects": [one]})
    kept = {"Mode": "COMPLIANCE", "RetainUntilDate": soon}
    say("keep it for a minute", s3.put_object_retention, **one, Retention=kept)
    soft = {"Mode": "GOVERNANCE", "RetainUntilDate": long}
    say("keep it by another mode", s3.put_object_retention, **one, Retention=soft)
    off = {"Status": "Suspended"}
    say("suspend versions", s3.put_bucket_versioning, VersioningConfiguration=off)
    say("delete the bucket", s3.delete_bucket)


match command:
    case "make":
        mode, days = words
        s3.create_bucket(Bucket=bucket, ObjectLockEnabledForBucket=mode != "none")
        if mode != "none":
            lock(mode, days)
    case "lock":
        lock(*words)
    case "lengthen":
        lengthen(words[0])
    case "shorten":
        shorten(words[0])
    case "hold":
        one = {"Key": words[0], "VersionId": first(words[0])}
        say("hold", s3.put_object_legal_hold, **one, LegalHold={"Status": "ON"})
    case "relock":
        relock(words[0])
    case "attack":
        attack(words[0])
    case "bypass":
        one = {"Key": words[0], "VersionId": first(words[0])}
        say("delete the version", s3.delete_object, **one)
        say("delete it with bypass", s3.delete_object, **one, BypassGovernanceRetention=True)
    case "cover":
        say("hide", s3.delete_object, Key=words[0])
        say("write over", s3.put_object, Key=words[1], Body=b"a")
