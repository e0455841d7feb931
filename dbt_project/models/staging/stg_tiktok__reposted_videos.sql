{{ account_list('reposted_videos', video_columns()) }}
