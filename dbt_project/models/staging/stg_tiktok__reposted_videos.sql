{{ account_videos('reposted_videos') }}
