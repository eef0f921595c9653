<#
.SYNOPSIS
    Saves what teamctl show, events, doctor, convert and survey read: the state of the extension, switches, teams, adapters.

.DESCRIPTION
    Asks each cmdlet once and writes one JSON file. Nothing on the host is changed, and no packet is looked at. The
    file has names of machines, switches and adapters, MAC addresses, IP addresses of the host, whether somebody works on
    it over the network (SSH, Remote Desktop, WinRM), and entries of the event log.

.PARAMETER Path
    The file; by default the name of the computer in the present folder.

.PARAMETER Trace
    What logman.exe recorded of the provider lbfoext, for teamctl survey. tracerpt.exe writes its events beside it, with
    .xml behind the name.

.EXAMPLE
    .\collect.ps1 -Path hv1.json

.EXAMPLE
    .\collect.ps1 -Path hv1.json -Trace C:\lbfoext.etl

.NOTES
    Exit codes: 0 done, 1 failed. What a host does not have (LBFO, machines) is left out.
#>
#Requires -Version 5.1
#Requires -RunAsAdministrator
[CmdletBinding()]
param(
    [string] $Path = "$env:COMPUTERNAME.json",
    [string] $Trace
)

Set-StrictMode -Version Latest
$ErrorActionPreference = 'Stop'

$Parameters = 'HKLM:\SYSTEM\CurrentControlSet\Services\lbfoext\Parameters'
$TeamFeature = '1B0E4E0C-6A0B-4A0E-9C5E-2F5A7C3D9E11'
$PortFeature = '1B0E4E0C-6A0B-4A0E-9C5E-2F5A7C3D9E12'

# The output of a step; nothing if this host cannot answer.
function Get-Answer([scriptblock] $Step) {
    try { @(& $Step) } catch { Write-Warning "$_"; @() }
}

# The numbers of a status object by name.
function Get-Number($Data) {
    $numbers = [ordered]@{}
    foreach ($property in $Data.CimInstanceProperties) { $numbers[$property.Name] = $property.Value }
    $numbers
}

function Get-TeamStatus($Name) {
    foreach ($status in Get-VMSwitchExtensionSwitchData -SwitchName $Name -FeatureId $TeamFeature) {
        [ordered]@{ SwitchName = $Name; Data = Get-Number $status.Data }
    }
}

function Get-PortStatus($Name) {
    foreach ($status in Get-VMSwitchExtensionPortData -VMName $Name -FeatureId $PortFeature) {
        [ordered]@{ VMName = $Name; Data = Get-Number $status.Data }
    }
}

function Get-Setting {
    $values = [ordered]@{}
    $key = Get-Item -LiteralPath $Parameters
    foreach ($name in $key.GetValueNames()) { $values[$name] = $key.GetValue($name) }
    $values
}

# The events of a trace session: the id and the fields of each, by name.
function Get-TraceEvent($File) {
    $null = & tracerpt.exe $File -o "$File.xml" -of XML -y
    if ($LASTEXITCODE -ne 0) { throw "tracerpt.exe cannot read $File; exit code $LASTEXITCODE." }
    $document = [xml](Get-Content -LiteralPath "$File.xml" -Raw)
    foreach ($event in $document.DocumentElement.ChildNodes) {
        $id = $event.SelectSingleNode('*[local-name()="System"]/*[local-name()="EventID"]')
        $fields = [ordered]@{}
        foreach ($data in $event.SelectNodes('*[local-name()="EventData"]/*[local-name()="Data"]')) {
            $fields[$data.GetAttribute('Name')] = $data.InnerText
        }
        if ($id) { [ordered]@{ Id = [int]$id.InnerText; Fields = $fields } }
    }
}

try {
    $processor = Get-CimInstance -ClassName Win32_Processor | Select-Object -First 1
    $switches = Get-Answer { Get-VMSwitch }
    $embedded = @($switches | Where-Object { $_.EmbeddedTeamingEnabled })
    $machines = Get-Answer { Get-VM }
    $settings = $null
    if (Test-Path -LiteralPath $Parameters) { $settings = Get-Setting }
    $traced = @()
    if ($Trace) { $traced = @(Get-TraceEvent $Trace) }
    $collected = [ordered]@{
        Format = 1
        Collected = (Get-Date).ToString('o')
        Computer = $env:COMPUTERNAME
        Build = [Environment]::OSVersion.Version.Build
        ThreadsPerCore = $processor.NumberOfLogicalProcessors / $processor.NumberOfCores
        Switches = @($switches | Select-Object -Property 'Name', 'EmbeddedTeamingEnabled', 'IovEnabled',
            'NetAdapterInterfaceDescriptions', @{ Name = 'SwitchType'; Expression = { "$($_.SwitchType)" } },
            @{ Name = 'BandwidthReservationMode'; Expression = { "$($_.BandwidthReservationMode)" } })
        Extensions = @($switches | Get-VMSwitchExtension | Select-Object -Property 'SwitchName', 'Name', 'Enabled', 'Running',
            @{ Name = 'ExtensionType'; Expression = { "$($_.ExtensionType)" } })
        TeamStatus = @($switches | ForEach-Object { $name = $_.Name; Get-Answer { Get-TeamStatus $name } })
        PortStatus = @($machines | ForEach-Object { $name = $_.Name; Get-Answer { Get-PortStatus $name } })
        SwitchTeamMembers = @(Get-Answer { Get-NetSwitchTeamMember } | Select-Object -Property 'Name', 'Team')
        LbfoTeams = @(Get-Answer { Get-NetLbfoTeam } | Select-Object -Property 'Name',
            @{ Name = 'TeamingMode'; Expression = { "$($_.TeamingMode)" } },
            @{ Name = 'LoadBalancingAlgorithm'; Expression = { "$($_.LoadBalancingAlgorithm)" } })
        LbfoTeamMembers = @(Get-Answer { Get-NetLbfoTeamMember } | Select-Object -Property 'Name', 'Team',
            @{ Name = 'AdministrativeMode'; Expression = { "$($_.AdministrativeMode)" } })
        LbfoTeamNics = @(Get-Answer { Get-NetLbfoTeamNic } | Select-Object -Property 'Name', 'InterfaceDescription', 'Team', 'VlanID')
        EmbeddedTeams = @($embedded | ForEach-Object { $name = $_.Name; Get-Answer { Get-VMSwitchTeam -Name $name } } |
            Select-Object -Property 'Name', 'NetAdapterInterfaceDescription',
            @{ Name = 'LoadBalancingAlgorithm'; Expression = { "$($_.LoadBalancingAlgorithm)" } })
        Adapters = @(Get-NetAdapter | Select-Object -Property 'Name', 'InterfaceDescription', 'InterfaceGuid', 'Status',
            'DriverFileName', @{ Name = 'DriverVersion'; Expression = { $_.DriverVersionString } })
        Vmq = @(Get-Answer { Get-NetAdapterVmq } | Select-Object -Property 'Name', 'Enabled', 'BaseProcessorGroup',
            'BaseProcessorNumber', 'MaxProcessorNumber', 'MaxProcessors')
        VmAdapters = @(Get-Answer { Get-VMNetworkAdapter -All } | Select-Object -Property 'VMName', 'Name',
            'SwitchName', 'MacAddress', 'IovWeight')
        Machines = @($machines | Select-Object -Property 'Name', @{ Name = 'State'; Expression = { "$($_.State)" } })
        HostVlans = @(Get-Answer { Get-VMNetworkAdapterVlan -ManagementOS } | Select-Object -Property 'AccessVlanId',
            'NativeVlanId', 'AllowedVlanIdListString', @{ Name = 'Name'; Expression = { $_.ParentAdapter.Name } },
            @{ Name = 'OperationMode'; Expression = { "$($_.OperationMode)" } })
        HostAddresses = @(Get-Answer { Get-NetIPAddress } | Select-Object -Property 'InterfaceAlias', 'IPAddress',
            'PrefixLength', @{ Name = 'PrefixOrigin'; Expression = { "$($_.PrefixOrigin)" } })
        HostGateways = @(Get-NetRoute -DestinationPrefix '0.0.0.0/0', '::/0' -ErrorAction SilentlyContinue |
            Select-Object -Property 'InterfaceAlias', 'NextHop')
        HostNameServers = @(Get-Answer { Get-DnsClientServerAddress } | Select-Object -Property 'InterfaceAlias', 'ServerAddresses')
        Rdma = @(Get-Answer { Get-NetAdapterRdma } | Select-Object -Property 'Name', 'Enabled')
        Sessions = @(Get-NetTCPConnection -State Established -LocalPort 22, 3389, 5985, 5986 -ErrorAction SilentlyContinue |
            Select-Object -Property 'LocalAddress', 'LocalPort')
        Settings = $settings
        Events = @(Get-WinEvent -FilterHashtable @{ LogName = 'System'; ProviderName = 'lbfoext' } -MaxEvents 1000 -ErrorAction SilentlyContinue |
            Select-Object -Property 'Id', 'Message', @{ Name = 'TimeCreated'; Expression = { $_.TimeCreated.ToString('o') } })
        Trace = $traced
    }
    ConvertTo-Json -InputObject $collected -Depth 6 | Out-File -FilePath $Path -Encoding utf8
    Write-Host "Saved: $Path"
    Write-Host "Read it: teamctl doctor $Path"
    exit 0
} catch {
    [Console]::Error.WriteLine("collect.ps1: $_")
    exit 1
}
